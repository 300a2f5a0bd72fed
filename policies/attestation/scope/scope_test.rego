package demesne.attestation.scope_test

import data.demesne.attestation.scope
import data.demesne.fixtures

test_refuses_a_dataset_out_of_scope if {
	codes := {reason.code | some reason in scope.deny} with input as object.union(fixtures.trainer_reads, {"session": {"scope": ["other"]}})
	codes == {"attestation.scope"}
}

test_permits_a_dataset_in_scope if {
	codes := {reason.code | some reason in scope.deny} with input as fixtures.trainer_reads
	codes == set()
}
