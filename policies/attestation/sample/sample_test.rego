package demesne.attestation.sample_test

import data.demesne.attestation.sample
import data.demesne.fixtures

test_refuses_real_data if {
	codes := {reason.code | some reason in sample.deny} with input as object.union(fixtures.trainer_reads, {"dataset": {"synthetic": false}})
	codes == {"attestation.sample"}
}

test_refuses_production if {
	codes := {reason.code | some reason in sample.deny} with input as object.union(fixtures.trainer_reads, {"zone": {"posture": "production"}})
	codes == {"attestation.sample"}
}

test_refuses_claims_that_say_nothing if {
	codes := {reason.code | some reason in sample.deny} with input as object.union(fixtures.trainer_reads, {"dataset": {"synthetic": false}, "session": {"claims": {"hardware": null, "synthetic_only": null}}})
	codes == {"attestation.sample"}
}

test_permits_synthetic_data_in_development if {
	codes := {reason.code | some reason in sample.deny} with input as fixtures.trainer_reads
	codes == set()
}

test_permits_hardware_on_real_data if {
	codes := {reason.code | some reason in sample.deny} with input as object.union(fixtures.trainer_reads, {"dataset": {"synthetic": false}, "session": {"claims": {"kind": "snp", "hardware": true, "synthetic_only": false}}})
	codes == set()
}
