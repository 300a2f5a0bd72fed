package demesne.attestation.stale_test

import data.demesne.attestation.stale
import data.demesne.fixtures

test_refuses_a_stale_read if {
	codes := {reason.code | some reason in stale.deny} with input as object.union(fixtures.trainer_reads, {"session": {"fresh": false}})
	codes == {"ReattestationRequired"}
}

test_refuses_a_stale_write if {
	codes := {reason.code | some reason in stale.deny} with input as object.union(fixtures.trainer_writes, {"session": {"fresh": false}})
	codes == {"ReattestationRequired"}
}

test_refuses_a_stale_look_at_the_ledger if {
	codes := {reason.code | some reason in stale.deny} with input as object.union(fixtures.trainer_reads, {"request": {"action": "ledger"}, "session": {"fresh": false}})
	codes == {"ReattestationRequired"}
}

test_permits_a_stale_session_to_attest_again if {
	codes := {reason.code | some reason in stale.deny} with input as object.union(fixtures.trainer_reads, {"request": {"action": "session"}, "session": {"fresh": false}})
	codes == set()
}

test_permits_a_fresh_read if {
	codes := {reason.code | some reason in stale.deny} with input as fixtures.trainer_reads
	codes == set()
}
