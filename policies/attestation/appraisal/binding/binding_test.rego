package demesne.attestation.appraisal.binding_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_snp_is_affirming if {
	tier(evidence_fixtures.snp) == "affirming"
	codes(evidence_fixtures.snp) == set()
}

test_refuses_what_is_not_bound if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"bound": false}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.not-bound"}
}

test_refuses_a_text_for_true if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"bound": "true"}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.not-bound"}
}

test_refuses_an_unbound_device if {
	document := object.union(evidence_fixtures.gpu, {"claims": {"devices": [object.union(evidence_fixtures.gpu_claims, {"platform": {"bound": false}})]}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.not-bound"}
}
