package demesne.attestation.appraisal.tokens_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_space_is_affirming if {
	tier(evidence_fixtures.space) == "affirming"
	codes(evidence_fixtures.space) == set()
}

test_memory_encryption_alone_is_a_warning if {
	document := object.union(evidence_fixtures.space, {"claims": {"tee": "GCP_AMD_SEV"}, "reference": evidence_fixtures.space.reference})
	tier(document) == "warning"
	codes(document) == {"attestation.platform"}
}
