package demesne.attestation.appraisal.nvgpu_test

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

test_nobody_asked_for_revocation if {
	document := object.union(evidence_fixtures.gpu, {"claims": {"devices": [object.union(evidence_fixtures.gpu_claims, {"platform": {"revocation_checked": 0}})]}})
	tier(document) == "warning"
	codes(document) == {"attestation.revocation-unchecked"}
}

test_without_manifests_it_is_a_warning if {
	document := object.union(evidence_fixtures.gpu, {"claims": {"devices": [object.union(evidence_fixtures.gpu_claims, {"platform": {"golden_complete": false}})]}})
	tier(document) == "warning"
	codes(document) == {"attestation.no-reference"}
}

test_a_gpu_is_no_machine if {
	document := object.union(evidence_fixtures.gpu, {"claims": {"kind": "nvgpu", "tee": "nvgpu"}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule", "attestation.submodule-missing"}
}
