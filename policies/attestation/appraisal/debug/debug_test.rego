package demesne.attestation.appraisal.debug_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_tdx_is_affirming if {
	tier(evidence_fixtures.tdx) == "affirming"
	codes(evidence_fixtures.tdx) == set()
}

test_refuses_debug if {
	document := object.union(evidence_fixtures.tdx, {"claims": {"debug": true}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.debug"}
}

test_refuses_silence if {
	document := object.union(evidence_fixtures.tdx, {"claims": {"debug": null}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.debug"}
}
