"""For mkdocs: the colours of rule files."""

from typing import ClassVar, Final

from pygments.lexer import RegexLexer, words
from pygments.lexers import LEXERS
from pygments.token import Comment, Keyword, Name, Number, Operator, String, Text

__all__ = ["RulesLexer"]  # where pygments looks

_STEPS: Final = ("alert", "reload", "restart", "start", "stop", "signal", "exec")
_WORDS: Final = (
    *("check", "service", "host", "jobs", "with", "expose", "if", "then", "and", "or", "not"),
    *("for", "of", "cycles", "cycle", "until", "between", "on", "after", "over", "will", "reach"),
    *("within", "happens", "every", "down", "crashed", "oom", "flapping", "alerted"),
)
_BEFORE, _BEHIND = r"(?<![\w:.-])", r"(?![\w:.-])"


class RulesLexer(RegexLexer):
    """Words, amounts, metrics and comments of a rule file."""

    name = "steadyd rules"
    aliases: ClassVar[list[str]] = ["inq", "inq-bad"]
    tokens: ClassVar[dict[str, list[object]]] = {
        "root": [
            (r"#[^\n]*", Comment),
            (r'"(?:\\.|[^"\\])*"', String),
            (words(_STEPS, prefix=_BEFORE, suffix=_BEHIND), Name.Builtin),
            (words(_WORDS, prefix=_BEFORE, suffix=_BEHIND), Keyword),
            (rf"{_BEFORE}\d[\d.]*(?:%|[a-z]+(?:/[a-z]+)?)?", Number),
            (r"[<>]=?|[=!]=", Operator),
            (r"[\w-]+:[\w./*-]+", Name.Variable),
            (r"[\w@*./-]+|\s+|.", Text),
        ]
    }


def on_config(config: object) -> object:
    """Make the lexer known by its name."""
    LEXERS["RulesLexer"] = (__name__, RulesLexer.name, tuple(RulesLexer.aliases), (), ())
    return config
