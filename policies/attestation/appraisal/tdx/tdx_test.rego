package demesne.attestation.appraisal.tdx_test

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

test_hardening_needed_is_a_warning if {
	document := object.union(evidence_fixtures.tdx, {"claims": {"platform": {"tcb_status": "SWHardeningNeeded"}}})
	tier(document) == "warning"
	codes(document) == {"attestation.tcb"}
}

test_out_of_date_is_refused if {
	document := object.union(evidence_fixtures.tdx, {"claims": {"platform": {"tcb_status": "OutOfDate"}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.tcb"}
}

test_an_unknown_status_is_refused if {
	document := object.union(evidence_fixtures.tdx, {"claims": {"platform": {"tcb_status": "Fine"}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.tcb"}
}

test_an_open_advisory_is_a_warning if {
	document := object.union(evidence_fixtures.tdx, {"claims": {"platform": {"advisories": ["INTEL-SA-00837"]}}})
	tier(document) == "warning"
	codes(document) == {"attestation.advisory"}
}
