"""Feature flags: what they say, and what they answer for a context at an instant. Pure: no I/O, no clock of its own.

Control checks and explains flags with the same functions that the data plane answers with.

How a share of the subjects is chosen, so that anybody can compute it: the SHA-256 of ``<salt>:<targeting key>`` in
UTF-8 gives two numbers from 0 to 9,999, each from eight of its bytes (big-endian, times 10,000, shifted right by 64
bits). The first of them, *position*, is held against a rule's share: whoever is below it is in. The second, *place*,
is held against the weights of a split, laid one after another in their order. A share that is raised therefore keeps
everybody who was in it, each with the same variant.
"""

from headwater.core.flags.checking import FlagFault, check_flag, check_prerequisites
from headwater.core.flags.compiled import CompiledFlags, compile_flags
from headwater.core.flags.outcomes import TARGETING_KEY, Outcome, Reason
from headwater.core.flags.spec import (
    KEY_PATTERN,
    WHOLE_BPS,
    FlagSpec,
    PrerequisiteSpec,
    RuleSpec,
    StepSpec,
    WeightSpec,
)
from headwater.core.flags.trace import Passage, trace

__all__ = [
    "KEY_PATTERN",
    "TARGETING_KEY",
    "WHOLE_BPS",
    "CompiledFlags",
    "FlagFault",
    "FlagSpec",
    "Outcome",
    "Passage",
    "PrerequisiteSpec",
    "Reason",
    "RuleSpec",
    "StepSpec",
    "WeightSpec",
    "check_flag",
    "check_prerequisites",
    "compile_flags",
    "trace",
]
