package demesne.attestation.appraisal.tpm_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_tpm_is_warning if {
	tier(evidence_fixtures.tpm) == "warning"
	codes(evidence_fixtures.tpm) == {"attestation.tpm-alone"}
}

test_without_a_policy_it_is_refused if {
	document := object.union(evidence_fixtures.tpm, {"claims": {"platform": {"pcr_policy": []}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.tpm-alone", "attestation.tpm-enrolment", "attestation.unproven"}
}

test_without_enrolment_it_is_refused if {
	document := object.union(evidence_fixtures.tpm, {"claims": {"platform": {"key": null}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.tpm-alone", "attestation.tpm-enrolment", "attestation.unproven"}
}

test_in_production_it_is_refused if {
	document := object.union(evidence_fixtures.tpm, {"posture": "production"})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.tpm-alone", "attestation.submodule-missing"}
}
