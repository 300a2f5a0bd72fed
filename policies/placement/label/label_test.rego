package demesne.placement.label_test

import data.demesne.fixtures
import data.demesne.placement.label

test_refuses_personal_into_open if {
	codes := {reason.code | some reason in label.deny} with input as object.union(fixtures.trainer_writes, {"dataset": {"label": "none"}})
	codes == {"flow.label"}
}

test_refuses_a_run_whose_label_is_unknown if {
	codes := {reason.code | some reason in label.deny} with input as object.union(fixtures.steward_writes, {"dataset": {"label": "none"}, "run": {"label": null}})
	codes == {"flow.label"}
}

test_permits_personal_into_personal if {
	codes := {reason.code | some reason in label.deny} with input as fixtures.trainer_writes
	codes == set()
}

test_permits_clean_into_open if {
	codes := {reason.code | some reason in label.deny} with input as object.union(fixtures.steward_writes, {"dataset": {"label": "none"}})
	codes == set()
}
