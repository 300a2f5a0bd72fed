package demesne.attestation.appraisal.submodules_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_gpu_is_affirming if {
	tier(evidence_fixtures.gpu) == "affirming"
	codes(evidence_fixtures.gpu) == set()
}

test_an_unknown_kind if {
	document := object.union(evidence_fixtures.snp, {"claims": {"kind": "new"}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule", "attestation.submodule-missing"}
}

test_an_unknown_device if {
	document := object.union(evidence_fixtures.gpu, {"claims": {"devices": [{"kind": "toaster"}]}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule"}
}

test_devices_that_are_no_list if {
	document := object.union(evidence_fixtures.gpu, {"claims": {"devices": "none"}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule"}
}

test_a_machine_is_no_device if {
	document := object.union(evidence_fixtures.gpu, {"claims": {"devices": [evidence_fixtures.snp_claims]}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule"}
}

test_devices_are_counted_by_kind if {
	switch := object.union(evidence_fixtures.gpu_claims, {"tee": "nvswitch"})
	answer := evidence.appraisal with input as object.union(evidence_fixtures.gpu, {"claims": {"devices": [evidence_fixtures.gpu_claims, switch, evidence_fixtures.gpu_claims]}})
	object.keys(answer.submods) == {"cpu0", "gpu0", "gpu1", "nvswitch0"}
}
