package demesne.purpose.not_granted_test

import data.demesne.fixtures
import data.demesne.purpose.not_granted

test_refuses_what_was_not_granted if {
	codes := {reason.code | some reason in not_granted.deny} with input as object.union(fixtures.trainer_reads, {"purpose": "fraud-model"})
	codes == {"purpose.not-granted"}
}

test_permits_what_was_granted if {
	codes := {reason.code | some reason in not_granted.deny} with input as fixtures.trainer_reads
	codes == set()
}
