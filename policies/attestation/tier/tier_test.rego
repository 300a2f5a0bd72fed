package demesne.attestation.tier_test

import data.demesne.attestation.tier
import data.demesne.fixtures

test_refuses_a_contraindicated_machine if {
	codes := {reason.code | some reason in tier.deny} with input as object.union(fixtures.trainer_reads, {"session": {"tier": "contraindicated"}})
	codes == {"attestation.tier"}
}

test_refuses_a_warning_in_production if {
	codes := {reason.code | some reason in tier.deny} with input as object.union(fixtures.trainer_reads, {"zone": {"posture": "production"}})
	codes == {"attestation.tier"}
}

test_permits_a_warning_in_development if {
	codes := {reason.code | some reason in tier.deny} with input as fixtures.trainer_reads
	codes == set()
}
