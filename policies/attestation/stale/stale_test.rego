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

test_permits_a_fresh_read if {
	codes := {reason.code | some reason in stale.deny} with input as fixtures.trainer_reads
	codes == set()
}
