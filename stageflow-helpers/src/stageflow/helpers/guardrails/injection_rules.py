"""What attempts to give a model other instructions look like.

In the patterns a blank stands for what may be between two words: a little of anything but letters
and digits, or nothing, since words may have been closed up. `_` is the same, but never nothing: it
follows words that may be any. Every repetition has a bound, so none takes more than linear time.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

__all__ = ("INJECTION_RULES", "InjectionRule")


@attrs.frozen
class InjectionRule:
    """A pattern for text in lower case.

    Attributes:
        hints: A text that holds none of these cannot match, which is quicker to find out.
        pattern: The pattern.
    """

    hints: tuple[str, ...]
    pattern: re.Pattern[str]


def _rule(hints: str, *parts: str) -> InjectionRule:
    written = "".join(parts).replace(" ", "[^a-z0-9]{0,6}").replace("_", "[^a-z0-9]{1,6}")
    return InjectionRule(tuple(hints.split()), re.compile(written))


_EARLIER: Final = (
    r"(?:(?:previous|prior|above|earlier|preceding|foregoing|original|initial|existing|system|your"
    r"|my|these|those|the) )"
)
_ORDERS: Final = (
    r"(?:instructions?|prompts?|rules?|directions?|directives?|commands?|guidelines?|guardrails?"
    r"|training|programming|constraints?|restrictions?|messages?|context)"
)
_ALL: Final = r"(?:(?:all|any|every|each|everything|of|in|completely|absolutely) )"
_UNSEEN: Final = (
    r"(?:(?:system|hidden|secret|initial|original|internal|developer|full|exact|entire|own|complete"
    r"|confidential) )"
)
_UNBOUND: Final = (
    r"(?:without |free (?:of|from) |(?:has|have|with|there are) no |no longer bound by "
    r"|not (?:bound|restricted|limited) by )(?:any |all |your |its |the )?"
    r"(?:(?:ethical|moral|content|safety|usual|normal) (?:or |and )?){0,2}"
    r"(?:restrictions|rules|filters|guidelines|limitations|limits|constraints|censorship|policies)"
)
_LAWLESS: Final = r"(?:unrestricted|unfiltered|uncensored|jailbroken|evil|malicious|amoral|rogue)"
_BARRIERS: Final = (
    r"(?:instructions|prompts?|rules|filters?|guidelines|safeguards|guardrails|restrictions"
    r"|protocols|moderation|limitations|programming)"
)
_MODELS: Final = r"(?:ai|language model|llm|assistant|chatbot)s?"
_REPEAT: Final = r"(?:repeat|print|output|echo|recite|copy|translate|summari[sz]e|write|show)"
_TELL: Final = (
    r"(?:reveal|show|print|display|output|repeat|tell|give|leak|dump|expose|share|disclose|return"
    r"|write|list|send|copy|paste|recite)"
)

INJECTION_RULES: Final = (
    # Undo what was said before.
    _rule(
        "ignor",
        rf"ignor(?:e|ing) {_ALL}{{0,3}}{_EARLIER}{{0,4}}",
        rf"(?:and (?:all )?(?:previous|prior|earlier) )?{_ORDERS}",
    ),
    _rule(
        "ignor",
        r"ignore (?:everything|anything|whatever|all) (?:that )?",
        r"(?:(?:was|is|has been|you were|you have been|you know) )?",
        r"(?:above|before|previously|told|said|so far|up to now|until now)",
    ),
    _rule(
        "disregard",
        rf"disregard (?:{_ALL}{{0,3}}{_EARLIER}{{1,4}}{_ORDERS}",
        r"|(?:all|any|everything) (?:of )?(?:the )?(?:above|previous|prior|before)",
        r"|(?:the )?(?:above|previous|prior))",
    ),
    _rule(
        "forget",
        rf"forget (?:{_ALL}{{0,3}}{_EARLIER}{{1,4}}{_ORDERS}",
        r"|(?:everything|all|whatever|anything) (?:that )?",
        r"(?:you (?:know|were|have been|learned)|above|before|previous|prior))",
    ),
    _rule(
        "overrid overwrit bypass circumvent disabl",
        r"(?:overrid(?:e|ing)|overwrit(?:e|ing)|(?:bypass|circumvent)(?:ing)?|disabl(?:e|ing)) ",
        r"(?:(?:all|any|the|your|its|of|every) ){0,3}",
        r"(?:(?:previous|prior|safety|content|ethical|moral|system|built in|internal) ){1,3}",
        _BARRIERS,
    ),
    _rule(
        "overrid bypass circumvent disabl",
        rf"(?:override|bypass|circumvent|disable) (?:all |any )?(?:of )?your {_BARRIERS}",
    ),
    _rule(
        "follow obey comply",
        r"(?:do not|don t|never|stop|no longer) (?:follow(?:ing)?|obey(?:ing)?|comply with) ",
        r"(?:(?:any|all|the|your|of|these|those) ){0,3}",
        r"(?:(?:previous|prior|original|earlier|system|above|safety) ){1,2}",
        _ORDERS,
    ),
    # Be somebody else.
    _rule(
        "from henceforth",
        r"(?:from now on |henceforth )",
        r"(?:you (?:are|will|must|shall|act|only|answer|respond)",
        r"|(?:act|behave|answer|respond|pretend) )",
    ),
    _rule(
        "now",
        r"you (?:are|re) now (?:(?:in )?(?:dan\b",
        rf"|an? (?:{_LAWLESS}|different|jailbroken|helpful hacker)",
        rf"|(?:developer|god|debug|admin|root|maintenance|sudo) mode|free\b|{_LAWLESS})",
        rf"|(?:an?|the) [a-z]{{2,20}}_(?:[a-z]{{2,20}}_){{0,3}}{_UNBOUND})",
    ),
    _rule(
        "pretend",
        r"pretend (?:to be|(?:that )?(?:you (?:are|re|have|can)|there are no)) ",
        r"(?:an? |my |the |no |in )?(?:[a-z]{2,20}_){0,4}",
        r"(?:ai|model|assistant|hacker|admin(?:istrator)?|developer|dan|rules|restrictions|filters",
        r"|guidelines|limits|unrestricted|uncensored|evil|human|system|root)\b",
    ),
    _rule(
        "act respond behave role answer speak",
        r"(?:act|respond|behave|role ?play|answer|speak) (?:as|like) ",
        r"(?:if you (?:are|were|have|had) )?(?:an?_|my_|the_)?",
        rf"(?:(?:[a-z]{{2,20}}_){{0,4}}{_UNBOUND}|dan\b|{_LAWLESS}",
        r"|no (?:rules|restrictions|filters|guidelines|limits)|root user|system administrator)",
    ),
    _rule(
        "jailbreak jailbroken",
        r"(?:jailbreak (?:mode|prompt|yourself|enabled|activated)",
        r"|(?:enter|enable|activate|use|into|start) (?:a |the )?jailbreak",
        r"|jailbroken (?:mode|ai|assistant|model|version))",
    ),
    _rule(
        "dan anything",
        r"(?:\bdan mode|do anything now|(?:as|be|become|named|called) dan\b)",
    ),
    _rule(
        "mode",
        r"(?:enable|enter|activate|switch (?:to|into)|turn on|unlock|go into|simulate|you are in) ",
        r"(?:the |a )?(?:developer|debug|god|admin|sudo|root|unrestricted|uncensored|unfiltered",
        r"|evil|opposite|dev|jailbreak|maintenance) mode",
    ),
    _rule(
        "restrict filter limit rule guideline censor polic constraint",
        r"(?:answer|respond|reply|speak|talk|write|tell me|explain|assist|operate|generate",
        rf"|you (?:can|will|must|may|are|have))_(?:[a-z]{{1,20}}_){{0,6}}{_UNBOUND}",
    ),
    # Say what is not to be said.
    _rule(
        "prompt instruct message rule config guideline directive",
        rf"{_TELL} (?:(?:out|back|me|us|down|verbatim) ){{0,2}}",
        r"(?:(?:all|of|the|your|what|is|are|every|contents?|text|exactly|word for word) ){0,5}",
        rf"{_UNSEEN}{{1,3}}",
        r"(?:prompts?|instructions?|message|rules|configuration|guidelines|directives)",
    ),
    _rule(
        "prompt instruct",
        rf"{_TELL} (?:(?:out|back|me|us|down) ){{0,2}}your (?:prompts?|instructions)\b",
    ),
    _rule(
        "prompt instruct message rule directive",
        rf"what (?:is|are|was|were|s|does) (?:(?:your|the) ){{1,2}}{_UNSEEN}{{1,3}}",
        r"(?:prompts?|instructions|message|rules|directives)",
    ),
    _rule(
        "above before prior",
        rf"{_REPEAT} (?:(?:out|back|me|to|verbatim|exactly|all|of|the|every|each|everything|words?",
        r"|text|lines?|content|instructions|you|were|told|given|that|was|is|are) ){1,8}",
        r"(?:above (?:this|verbatim|starting|into|in a|word|message|line|prompt|$)",
        r"|before (?:this|my) (?:message|line|prompt|conversation|sentence)|prior to this)",
    ),
    _rule(
        "secret password credential key token variable data",
        r"(?:reveal|leak|exfiltrate|send|post|print|output|email|forward|upload) ",
        r"(?:me |us |out )?(?:(?:all|any|the|your|of|every) ){0,3}",
        r"(?:(?:hidden|stored|secret|internal|environment|system|confidential) ){1,3}",
        r"(?:secrets?|passwords?|credentials|api keys?|tokens?|variables|data|keys?)_",
        r"(?:to|you|that|from|in|at|now)\b",
    ),
    # Instructions from elsewhere.
    _rule(
        "instruct",
        r"(?:new|updated|revised|real|actual|true|important|additional|secret|hidden|special|admin",
        r"|override) (?:system |urgent |primary )?instructions? ",
        r"(?:follow\b|are as follows|from (?:the )?(?:developer|admin|system|owner)",
        r"|for (?:the )?(?:ai|assistant|model|you\b)|(?:supersede|replace|override))",
    ),
    _rule(
        "instruct",
        r"(?:^|[\n.!?>\]])[^a-z0-9]{0,6}",
        r"(?:new|updated|override|real|actual|system|admin|hidden) instructions?\s{0,2}:",
    ),
    _rule(
        "ai model llm assistant chatbot",
        r"(?:attention|note|message|instructions?|important|notice|hey|dear|hello)_",
        rf"(?:(?:to|for|the|any|all)_){{0,2}}{_MODELS}_(?:[a-z]{{2,12}}_){{0,6}}",
        r"(?:ignore|you must|do not summari|instead|respond (?:only )?with|disregard|approve)",
    ),
    _rule(
        "base64 rot13 hex encoded hidden reversed",
        r"(?:decode|decipher|execute|evaluate|run|follow|obey) (?:and (?:then )?)?",
        r"(?:[a-z0-9]{1,12}_){0,5}(?:base64|rot13|hex|encoded|hidden|reversed)_",
        r"(?:[a-z0-9]{1,12}_){0,5}",
        r"(?:and (?:then )?(?:follow|execute|obey|do|run|comply)|instructions?|commands?|payload)",
    ),
    _rule(
        "conversation input query session prompt context",
        r"(?:end|start|begin|reset|close) (?:of )?(?:the |a )?",
        r"(?:(?:new|user|system|previous) ){0,2}",
        r"(?:conversation|input|query|session|prompt|context)_",
        r"(?:(?:start|begin|new)_(?:of_)?(?:a_|the_)?(?:new_)?(?:system|admin|developer)|system\b",
        r"|you are now|new instructions|ignore)",
    ),
    # The marks by which parts of a conversation are told apart.
    _rule(
        "<| [inst] [/inst] sys role",
        r"<\|(?:im\x5fstart|im\x5fend|system|user|assistant|endoftext|start\x5fheader\x5fid)\|?>?",
        r"|\[/?inst\]|<</?sys>>|</?system(?:\x5fprompt|\x5fmessage|-reminder)?>|\[/?system\][(:\s]",
        r"|(?:^|\n)\s{0,4}#{2,4}\s{0,3}(?:system|instruction)s?\s{0,2}:",
        r"|(?:^|\n)\s{0,4}system\s{0,2}:\s{0,3}(?:you|ignore|override|new|the assistant|from|do",
        r"|always|never|respond)|\"role\"\s{0,2}:\s{0,2}\"system\"",
    ),
)
