"""What the machine concluded; data, so that whoever reads it chooses how to act on it."""

from msgspec import Struct

from steadyd.model.rule import Rule


class Opened(Struct, frozen=True):
    """The condition was true for as long as the hold asks: an incident begins.

    `new` is true where the rule was true at its first evaluation ever and has no hold that was
    observed: such an opening alerts and does not act.
    """

    rule: Rule
    new: bool = False


class Resolved(Struct, frozen=True):
    """The incident of a rule is over."""

    rule: Rule


Decision = Opened | Resolved
