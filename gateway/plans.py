"""The one plan no doctrine declares: a declassified object, unchanged, sealed in the view class.

Raw keys are released to attested sessions only, whatever a label says; so what everybody may read has to be
sealed under another class of key. A named declassification therefore builds this view.
"""

from gateway.decide.decision import Allow, plan_id_of
from vault.catalog.rows import VersionRow

IDENTITY_EFFECT = {"identity": True}
IDENTITY_PLAN = plan_id_of(IDENTITY_EFFECT)
DECLASSIFIED = "declassified"  # its purpose class in the catalog


def declassified(version: VersionRow | None) -> bool:
    """Sealed as personal, and labelled as not personal since."""
    return version is not None and version.label == "none" and version.key_class == "raw"


def view_given(allow: Allow, version: VersionRow | None) -> str:
    """What an intent says is given: raw, writer, none, a plan id; `open` only where the version itself is opened."""
    return IDENTITY_PLAN if allow.view == "open" and declassified(version) else allow.view_name
