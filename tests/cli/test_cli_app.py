"""What a person meets: help, errors, exit codes."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from commands import called

from logratio import __version__
from logratio.cli.app import VERBS, build, overview

COMMAND = [sys.executable, "-m", "logratio"]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_help_answers_within_three_tenths_of_a_second():
    """Of processor time, which other work on the machine does not lengthen; it waits for nothing else."""
    seconds = []
    for _ in range(6):
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*COMMAND, "--help"], capture_output=True)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
        assert done.returncode == 0
    assert min(seconds) < 0.3, seconds


def test_overview_shows_every_verb_in_its_group_on_a_narrow_terminal():
    lines = overview().splitlines()
    assert max(map(len, lines)) <= 80
    for verb in VERBS:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {verb.name} "))
        heads = [line for line in lines[:at] if line and line[0] != " "]
        assert heads[-1] == verb.group and verb.summary in lines[at]


def test_no_words_and_both_help_flags_show_the_overview(capsys):
    for words in ([], ["--help"], ["-h"], ["--help", "--debug"]):
        assert called(capsys, *words) == (0, overview() + "\n", "")


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_verb_exists_and_shows_its_options(verb, capsys):
    code, out, _ = called(capsys, verb, "--help")
    assert code == 0 and f"Usage: logratio {verb}" in out


@pytest.mark.parametrize(
    ("older", "words"),
    [
        ("--out", "audit pairs.jsonl"),
        ("--out", "init model pairs.jsonl"),
        ("--out", "label pairs.jsonl"),
        ("--out", "report run"),
        ("--out", "sample run"),
        ("--out", "winrate a b --prompts p --judge j"),
        ("--to", "export run"),
    ],
)
def test_where_a_command_writes_is_output_and_its_older_word_is_taken(older, words):
    places = [
        build().parse_args([*words.split(), option, "here"], exit_on_error=False, print_error=False)[1].kwargs["output"]
        for option in ("--output", older)
    ]
    assert places == [Path("here")] * 2


def test_version(capsys):
    assert called(capsys, "--version")[1].strip() == f"logratio {__version__}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], 'Did you mean "train"?'),
        (["eval", "x"], "--data is missing"),
        (["eval", "x", "--data", "d", "--beta", "0"], "Must be > 0"),
        (["sample"], "RUN_OR_MODEL"),
        (["train", "--lr", "1", "--train.lr", "2"], "specified multiple times"),
        (["train", "--objective", "dpoo"], 'did you mean "dpo"?'),
        (["train", "--model", "m", "--data", "d", "--beta", "0"], "`objective.beta` is 0"),
        (["report", "/nowhere"], "/nowhere"),
        (["-x"], '"-x"'),
    ],
)
def test_a_persons_mistake_is_one_message_on_stderr_and_code_2(words, said, capsys):
    code, out, err = called(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("logratio: ") and "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_debug_shows_the_traceback_beside_the_message(capsys):
    code, _, err = called(capsys, "train", "--debug", "--model", "m", "--data", "d", "--beta", "0")
    assert code == 2 and "Traceback" in err and "`objective.beta` is 0" in err.splitlines()[-1]


def test_our_fault_says_how_to_report_it_and_ends_with_1():
    fault = "import logratio.cli.cache as c; c.cache_root = lambda: 1 / 0; from logratio.cli.app import main; "
    done = python(fault + "main(['cache'])")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "a fault of this program: ZeroDivisionError" in done.stderr and "--debug" in done.stderr
    done = python(fault + "main(['cache', '--debug'])")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_an_interrupt_ends_with_130():
    done = python(
        "import signal, logratio.cli.cache as c; c.cache_root = lambda: signal.raise_signal(signal.SIGINT); "
        "from logratio.cli.app import main; main(['cache'])"
    )
    assert done.returncode == 130 and done.stderr.strip() == "logratio: interrupted."


def test_of_several_processes_one_speaks_of_a_shared_mistake(monkeypatch, capsys):
    wrong = ["train", "--model", "m", "--data", "d", "--beta", "0"]
    monkeypatch.setenv("RANK", "0")
    assert called(capsys, *wrong)[2].count("objective.beta") == 1
    monkeypatch.setenv("RANK", "1")
    assert called(capsys, *wrong) == (2, "", "")


@pytest.mark.parametrize("words", [["--help"], ["cache"]])
def test_a_reader_that_leaves_early_is_no_fault(words):
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_messages_wrap_at_words_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    _, _, err = called(capsys, "train", "--model", "m", "--data", "d", "--train.warmup", "2")
    assert max(map(len, err.splitlines())) <= 60 and len(err.splitlines()) > 1


def test_completion_knows_verbs_and_recipe_keys():
    script = build().generate_completion(shell="bash")
    assert all(re.search(rf"\b{verb.name}\b", script) for verb in VERBS)
    assert "--train.batch_size" in script and "left_prompt" in script
