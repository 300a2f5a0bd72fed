package demesne.attestation.appraisal_test

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

test_sample_is_warning if {
	tier(evidence_fixtures.sample) == "warning"
	codes(evidence_fixtures.sample) == {"attestation.sample-evidence"}
}

test_what_nothing_proves_is_contraindicated if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"reported_tcb": null}}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.unproven"}
}

test_nothing if tier({}) == "contraindicated"

test_the_vector_of_an_affirmed_machine if {
	answer := evidence.appraisal with input as evidence_fixtures.snp
	answer.submods == {"cpu0": {
		"tier": "affirming",
		"reference": "trainer",
		"vector": {
			"instance-identity": "affirming",
			"configuration": "affirming",
			"executables": "affirming",
			"hardware": "affirming",
			"runtime-opaque": "affirming",
			"file-system": "none",
			"storage-opaque": "none",
			"sourced-data": "none",
		},
	}}
}
