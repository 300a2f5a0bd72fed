package demesne.attestation.appraisal.azure_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_azure_is_affirming if {
	tier(evidence_fixtures.azure) == "affirming"
	codes(evidence_fixtures.azure) == set()
}

test_secure_boot_off_is_a_warning if {
	document := object.union(evidence_fixtures.azure, {"claims": {"platform": {"secure_boot": false}}})
	tier(document) == "warning"
	codes(document) == {"attestation.secure-boot"}
}

test_a_vtpm_on_no_hardware_is_refused if {
	document := object.union(evidence_fixtures.azure, {"claims": {"tee": "vbs"}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.unproven"}
}
