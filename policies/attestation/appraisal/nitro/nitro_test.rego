package demesne.attestation.appraisal.nitro_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_nitro_is_affirming if {
	tier(evidence_fixtures.nitro) == "affirming"
	codes(evidence_fixtures.nitro) == set()
}

test_a_document_of_no_module_is_refused if {
	document := object.union(evidence_fixtures.nitro, {"claims": {"platform": {"module_id": ""}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.unproven"}
}
