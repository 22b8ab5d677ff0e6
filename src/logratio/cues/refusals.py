"""Whether a text refuses, by how refusals begin in languages that have a list here; silent in all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .chars import Characters, Numbers
from .scripts import NAMES

REACH = 240
"""Characters from the beginning in which a refusal is looked for: later ones mostly qualify an answer."""

_ENGLISH = """
i can't help|i cannot help|i can't assist|i cannot assist|i can't provide|i cannot provide|i can't do that
i cannot do that|i can't answer|i cannot answer|i can't support|i cannot support|i can't recommend
i cannot recommend|i can't give|i cannot give|i can't tell you|i cannot tell you|i can't fulfill|i cannot fulfill
i can't fulfil|i cannot fulfil|i can't comply|i cannot comply|i can't engage|i cannot engage|i can't generate
i cannot generate|i can't create|i cannot create|i can't write|i cannot write|i can't in good conscience
i cannot in good conscience|i can't discuss|i cannot discuss|i won't help|i will not help|i won't do that
i won't provide|i will not provide|i won't tell you|i won't assist|i am unable to|i'm unable to
i am not able to|i'm not able to|i'm not allowed to|i am not allowed to|i'm not going to help|i'm not going to tell
i'm not comfortable|i am not comfortable|i don't feel comfortable|i do not feel comfortable|i'm sorry, but i can
i'm sorry, but i don|i am sorry, but i can|sorry, i can't|sorry, i cannot|sorry, but i can|i must decline
i have to decline|i must refuse|i refuse to|i would rather not|i'd rather not|i shouldn't help
i should not help|i don't want to help|i do not want to help|i don't think i should|i do not think i should
i don't think i can|i'm afraid i can't|i'm afraid i cannot|as an ai language model, i can|as an ai, i can
my programming does not allow|my programming prohibits
"""
_CHINESE = """
我不能|我无法|我没有办法|我没办法|无法提供|不能提供|无法回答|不能回答|无法协助|不能协助|无法帮助|不能帮助|恕我|抱歉,我
很抱歉,|对不起,我|我拒绝|不便回答|无法满足|我不會|我無法|無法提供|無法協助|無法回答|對不起,我
"""
_ARABIC = """
لا أستطيع|لا استطيع|لا يمكنني|لا يمكننى|لا أقدر|لست قادرا|لست قادرًا|غير قادر على|أعتذر|اعتذر|آسف|عذرا|عذرًا|أرفض
ليس بإمكاني|ليس بوسعي|لن أتمكن|لن أساعد
"""
_SPANISH = """
no puedo ayudar|no puedo proporcionar|no puedo responder|no puedo hacer|no puedo cumplir|no puedo asistir
no puedo dar|no me es posible|lo siento, pero no|lo siento, no puedo|no estoy autorizad|me niego a|debo rechazar
"""
_FRENCH = """
je ne peux pas|je ne suis pas en mesure|je ne puis|il m'est impossible|je suis désolé, mais|je suis désolée, mais
désolé, je ne|désolé, mais je|je refuse de|je dois refuser|je dois décliner
"""
_GERMAN = """
ich kann dir nicht|ich kann ihnen nicht|ich kann dabei nicht|ich kann das nicht|ich kann leider
ich bin nicht in der lage|es tut mir leid, aber|tut mir leid, aber|leider kann ich|das kann ich leider nicht
ich darf nicht|ich muss ablehnen|ich weigere mich
"""
_PORTUGUESE = """
não posso ajudar|não posso fornecer|não posso responder|não posso fazer|não posso cumprir|não consigo ajudar
não sou capaz|desculpe, mas não|sinto muito, mas|lamento, mas não|me recuso a|recuso-me a
"""
_ITALIAN = """
non posso aiutar|non posso fornire|non posso rispondere|non sono in grado|mi dispiace, ma non|mi rifiuto di
"""
_RUSSIAN = """
я не могу|не могу помочь|не могу предоставить|не могу ответить|я не в состоянии|извините, но я|простите, но я
к сожалению, я не|я отказываюсь|я вынужден отказать
"""
_JAPANESE = """
お手伝いできません|お答えできません|提供できません|対応できません|お応えできません|できかねます|申し訳ありませんが|申し訳ございませんが
ことはできません
"""
_KOREAN = """
도와드릴 수 없|도와 드릴 수 없|제공할 수 없|답변할 수 없|답변드릴 수 없|죄송하지만|죄송합니다만|할 수 없습니다
"""
_HINDI = """
मैं मदद नहीं कर|मैं आपकी मदद नहीं|मैं यह नहीं कर|मैं नहीं कर सकत|मैं असमर्थ|क्षमा करें, मैं|माफ़ कीजिए, मैं|माफ करें, मैं
"""

LISTS: Mapping[str, tuple[str, str]] = {
    "English": ("Latin", _ENGLISH),
    "Spanish": ("Latin", _SPANISH),
    "French": ("Latin", _FRENCH),
    "German": ("Latin", _GERMAN),
    "Portuguese": ("Latin", _PORTUGUESE),
    "Italian": ("Latin", _ITALIAN),
    "Chinese": ("Han", _CHINESE),
    "Arabic": ("Arabic", _ARABIC),
    "Russian": ("Cyrillic", _RUSSIAN),
    "Japanese": ("Kana", _JAPANESE),
    "Korean": ("Hangul", _KOREAN),
    "Hindi": ("Devanagari", _HINDI),
}
"""Language → (script, how a refusal sounds in it)."""


def _phrases(lists: Iterable[str]) -> tuple[str, ...]:
    return tuple(phrase.strip() for text in lists for line in text.split("\n") for phrase in line.split("|") if phrase)


_BY_SCRIPT = {
    NAMES.index(script): _phrases(text for own, text in LISTS.values() if own == script)
    for script in {script for script, _ in LISTS.values()}
}

_SAME = (("’", "'"), ("ʼ", "'"), ("，", ","), ("、", ","), ("،", ","))


def refuses(text: str, script: int) -> bool | None:
    """Return whether a text whose main script is `script` refuses; None where no list covers that script."""
    phrases = _BY_SCRIPT.get(script)
    if phrases is None:
        return None
    opening = text[:REACH].lower()
    for written, sign in _SAME:
        opening = opening.replace(written, sign)
    for phrase in phrases:  # a loop takes half the time of any(…), and this is the slowest of the cues
        if phrase in opening:
            return True
    return False


def refusal_cues(chars: Characters) -> Mapping[str, Numbers]:
    """Return 1 where a text refuses, 0 where it does not or where no list can tell, [N]."""
    return {"refuses": np.fromiter(map(_certain, judged(chars)), np.float64, len(chars))}


def judged(chars: Characters) -> Sequence[bool | None]:
    """Return whether each text refuses; None where no list covers its script, or it has no letters."""
    return [refuses(text, int(script)) for text, script in zip(chars.texts, chars.main_N, strict=True)]


def _certain(verdict: bool | None) -> bool:
    return verdict is True
