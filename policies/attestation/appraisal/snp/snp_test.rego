package demesne.attestation.appraisal.snp_test

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

test_a_doubted_line_is_a_warning if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"product": "Milan"}}})
	tier(document) == "warning"
	codes(document) == {"attestation.product"}
}

test_an_unknown_line_is_refused if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"product": "Venice"}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.product"}
}

test_another_privilege_level_is_a_warning if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"vmpl": 1}}})
	tier(document) == "warning"
	codes(document) == {"attestation.vmpl"}
}

test_nobody_in_particular_is_refused if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"chip_id": "", "provider": ""}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.unproven"}
}
