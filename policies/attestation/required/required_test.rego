package demesne.attestation.required_test

import data.demesne.attestation.required
import data.demesne.fixtures

test_refuses_a_training_read_without_a_session if {
	codes := {reason.code | some reason in required.deny} with input as object.union(fixtures.trainer_reads, {"session": null})
	codes == {"attestation.required"}
}

test_refuses_raw_for_an_identity_session if {
	codes := {reason.code | some reason in required.deny} with input as object.union(fixtures.trainer_reads, {"session": {"kind": "identity"}})
	codes == {"attestation.required"}
}

test_refuses_an_analyst_who_insists_on_raw if {
	codes := {reason.code | some reason in required.deny} with input as object.union(fixtures.analyst_reads, {"request": {"require_view": "raw"}})
	codes == {"attestation.required"}
}

test_refuses_a_training_write_without_a_session if {
	codes := {reason.code | some reason in required.deny} with input as object.union(fixtures.trainer_writes, {"session": null})
	codes == {"attestation.required"}
}

test_permits_an_attested_session if {
	codes := {reason.code | some reason in required.deny} with input as object.union(fixtures.trainer_reads, {"request": {"require_view": "raw"}})
	codes == set()
}

test_permits_masked_without_one if {
	codes := {reason.code | some reason in required.deny} with input as fixtures.analyst_reads
	codes == set()
}

test_permits_raw_of_what_is_open if {
	codes := {reason.code | some reason in required.deny} with input as object.union(fixtures.analyst_reads_open, {"request": {"require_view": "raw"}})
	codes == set()
}
