"""The page of a study: which method is named, what its plot and tables hold, and its figure as a file of its own."""

import json
from xml.etree import ElementTree

import pytest

from logratio.cli.app import main
from logratio.errors import RunError
from logratio.report.frontier import compose, frontier_plot, near, write_frontier
from logratio.report.kit import Scatter, Table
from logratio.report.svg import drawing

SVG = "{http://www.w3.org/2000/svg}"


def measure(mean, half=0.1):
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 100, "se": half / 2}


NOTHING = {"mean": None, "low": None, "high": None, "n": 0, "se": None}


def at(step, kl, reward):
    return {"step": step, "kl": measure(kl), "reward": measure(reward)}


def study(**changes):
    """What `frontier.json` holds of two methods with two runs each."""
    runs = [
        {
            "name": f"{variant.lower()}_seed-{seed}",
            "variant": variant,
            "setting": setting,
            "seed": str(seed),
            "status": "finished",
            "error": None,
            "seconds": 30.0,
            "points": [{**at(20, 1.0, 0.5), "length": measure(30), "tokens": 90_000, "seconds": 25.0}],
        }
        for variant, setting in (("DPO", "beta 0.1"), ("SFT", ""))
        for seed in (0, 1)
    ]
    tilts = [
        {"beta": beta, "kl": measure(kl), "reward": measure(reward), "effective": 100 * beta, "trusted": beta > 0.2}
        | {"bias_kl": -0.01, "bias_reward": -0.02}
        for beta, kl, reward in ((2.0, 0.1, 0.4), (1.0, 0.5, 1.0), (0.5, 1.5, 1.6), (0.1, 5.0, 2.5))
    ]
    bests = [
        {"n": n, "reward": measure(reward), "bound": kl * 1.1, "kl": measure(kl), "distance": kl}
        for n, kl, reward in ((1, 0.0, 0.0), (4, 0.6, 1.0), (16, 1.8, 1.5))
    ]
    settings = [
        {"variant": "DPO", "setting": "beta 0.1", "runs": ["dpo_seed-0", "dpo_seed-1"]}
        | {"points": [at(0, 0, 0), at(10, 0.8, 0.6), at(20, 2.0, 1.2)]},
        {"variant": "SFT", "setting": "", "runs": ["sft_seed-0", "sft_seed-1"]}
        | {"points": [at(0, 0, 0), at(20, 1.2, 0.2)]},
    ]
    row = {"kl": 1.0, "runs": 2, "settings": 1}
    methods = {
        "SFT": {**row, "setting": "", "reward": measure(0.17)},
        "DPO": {**row, "setting": "beta 0.1", "reward": measure(0.7)},
    }
    none = {"SFT": {**row, "setting": "", "reward": NOTHING}, "DPO": {**methods["DPO"], "reward": measure(1.2)}}
    return {
        "title": "frontier",
        "judge": {"function": "world:reward"},
        "model": "folder/model",
        "seeds": [0, 1],
        "prompts": 100,
        "samples": 64,
        "reference": measure(0.0),
        "bias": "It errs by O(1/N).",
        "tilts": tilts,
        "best_of_n": bests,
        "runs": runs,
        "settings": settings,
        "levels": [
            {"kl": 1.0, "frontier": 1.3, "best_of_n": 1.17, "methods": methods},
            {"kl": 2.0, "frontier": None, "best_of_n": None, "methods": none},
        ],
        **changes,
    }


def tables(page):
    return {block.caption: block for section in page.sections for block in section.blocks if isinstance(block, Table)}


def test_the_headline_compares_where_two_methods_came_and_says_whether_it_is_shown():
    page = compose(study())
    assert page.headline.startswith("At 1 nat DPO has the most reward, 0.70 [0.60, 0.80], where the frontier is 1.3;")
    assert page.headline.endswith("apart from SFT.")
    close = study()
    close["levels"][0]["methods"]["SFT"]["reward"] = measure(0.65)
    assert compose(close).headline.endswith("not shown to be above SFT.")
    assert "none can be compared" in compose(study(levels=[])).headline


def test_the_plot_has_all_points_but_the_start_under_trusted_tilts_alone():
    frontier, best, dpo, sft = frontier_plot(study()).dots
    assert frontier.bare and best.bare and not dpo.bare
    assert frontier.x == [0.1, 0.5, 1.5]  # the last tilt is carried by too few samples
    assert best.x == [0.0, 0.6, 1.8]
    assert (dpo.x, dpo.y, sft.x) == ([0.8, 2.0], [0.6, 1.2], [1.2])
    assert dpo.names == ["beta 0.1, step 10", "beta 0.1, step 20"]
    assert dpo.about[0] == "runs: dpo_seed-0 and 1 more seeds"
    assert len({one.look for one in (frontier, best, dpo, sft)}) == 4


def test_rewards_at_equal_kl_are_ordered_and_name_their_setting():
    table = tables(compose(study()))["Reward at equal KL"]
    assert [row[0] for row in table.rows] == ["Frontier (Gibbs)", "Best-of-N", "DPO", "SFT"]
    assert table.rows[2][1:] == ["0.70 [0.60, 0.80], beta 0.1", "1.20 [1.10, 1.30], beta 0.1"]
    assert table.rows[3][2] is None
    assert tables(compose(study()))["Cost of a run"].rows[0] == ["DPO", "2", "90,000", "25"]


def test_runs_that_failed_or_wait_are_said():
    document = study()
    document["runs"][0] |= {"status": "failed", "error": "it broke.", "points": []}
    document["runs"][1] |= {"status": "waiting", "points": []}
    document["lost"] = "The judge had no verdict on 1 of 40 samples."
    said = [notice.text for notice in compose(document).notices]
    assert said == ["dpo_seed-0 failed: it broke.", "Not finished: dpo_seed-1.", document["lost"]]


def test_a_study_that_has_nothing_yet_is_a_page_all_the_same(tmp_path):
    document = study(tilts=[], best_of_n=[], reference=None, settings=[], levels=[], prompts=None)
    document["runs"] = [{**run, "status": "waiting", "points": []} for run in document["runs"]]
    assert write_frontier(tmp_path, document).is_file()


def test_the_figure_is_whole_and_names_its_points():
    root = ElementTree.fromstring(drawing(frontier_plot(study())))
    titles = [one.text for one in root.iter(f"{SVG}title")]
    assert titles == [
        "DPO, beta 0.1, step 10: KL 0.8, 0.6",
        "DPO, beta 0.1, step 20: KL 2, 1.2",
        "SFT, step 20: KL 1.2, 0.2",
    ]
    assert len(list(root.iter(f"{SVG}polyline"))) == 2
    left, top, width, height = map(float, root.get("viewBox").split())
    for line in root.iter(f"{SVG}polyline"):
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert left <= x <= width and top <= y <= height


def test_names_cannot_leave_the_figure():
    document = study()
    document["settings"][0]["setting"] = '<script>alert("1")</script>\u202e'
    text = drawing(frontier_plot(document))
    assert "<script" not in text and "\u202e" not in text
    ElementTree.fromstring(text)


def test_report_shows_a_studys_folder(tmp_path, capsys):
    (tmp_path / "frontier.json").write_text(json.dumps(study()))
    with pytest.raises(SystemExit) as caught:
        main(["report", str(tmp_path)])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "frontier.html")
    html = (tmp_path / "frontier.html").read_text(encoding="utf-8")
    assert "Reward at equal KL" in html and "dpo_seed-0" in html
    assert (tmp_path / "frontier.svg").is_file()
    (tmp_path / "frontier.json").write_text("{")
    with pytest.raises(RunError, match="run the study again"):
        write_frontier(tmp_path)


def test_each_method_has_a_plot_of_its_paths():
    page = compose(study())
    plots = [block for section in page.sections for block in section.blocks if isinstance(block, Scatter)]
    assert [plot.title for plot in plots] == ["Reward against KL", "DPO", "SFT"]
    assert plots[1].dots[0].x == [0.1, 0.5, 1.5] and plots[2].dots[0].x == [0.1, 0.5]
    assert plots[1].dots[1].joined and plots[1].dots[1].x == [0, 0.8, 2.0]


def test_the_figure_leaves_out_what_is_far_beyond_the_comparison_and_counts_it():
    document = study(levels=[{**study()["levels"][0], "kl": 0.3}])  # so that 0.9 nats are as far as the figure goes
    whole = frontier_plot(document)
    figure = near(whole, document)
    assert [dots.x for dots in figure.dots] == [[x for x in dots.x if x <= 0.9] for dots in whole.dots]
    lost = sum(len(dots.x) for dots in whole.dots) - sum(len(dots.x) for dots in figure.dots)
    assert lost and f"({lost} points beyond 0.9 are not drawn)" in figure.x_label
    assert near(whole, study()) is whole
