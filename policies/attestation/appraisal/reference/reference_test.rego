package demesne.attestation.appraisal.reference_test

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

test_tdx_is_affirming if {
	tier(evidence_fixtures.tdx) == "affirming"
	codes(evidence_fixtures.tdx) == set()
}

test_azure_is_affirming if {
	tier(evidence_fixtures.azure) == "affirming"
	codes(evidence_fixtures.azure) == set()
}

test_an_unknown_measurement_is_a_warning if {
	document := object.union(evidence_fixtures.snp, {"claims": {"measurement": "12"}})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_other_host_data_is_a_warning if {
	document := object.union(evidence_fixtures.snp, {"claims": {"platform": {"host_data": "23"}}})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_no_reference_value_is_a_warning if {
	document := object.union(evidence_fixtures.snp, {"reference": []})
	tier(document) == "warning"
	codes(document) == {"attestation.no-reference"}
}

test_no_list_is_no_reference_value if {
	document := object.union(evidence_fixtures.snp, {"reference": null})
	tier(document) == "warning"
	codes(document) == {"attestation.no-reference"}
}

test_an_entry_without_a_name_is_none if {
	document := object.union(evidence_fixtures.snp, {"reference": [{"kind": "snp", "measurement": ["11"]}]})
	tier(document) == "warning"
	codes(document) == {"attestation.no-reference"}
}

test_an_entry_without_a_kind_is_none if {
	document := object.union(evidence_fixtures.snp, {"reference": [{"name": "x", "measurement": ["11"]}]})
	tier(document) == "warning"
	codes(document) == {"attestation.no-reference"}
}

test_an_entry_that_compares_nothing_holds_for_nobody if {
	document := object.union(evidence_fixtures.snp, {"reference": [{"name": "x", "kind": "snp"}]})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_an_empty_measurement_is_none if {
	document := object.union(evidence_fixtures.snp, {"claims": {"measurement": ""}, "reference": [{"name": "x", "kind": "snp", "measurement": [""]}]})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_another_tee_holds_not if {
	document := object.union(evidence_fixtures.snp, {"reference": [{"name": "x", "kind": "snp", "tee": "tdx", "measurement": ["11"]}]})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_another_platform_holds_not if {
	document := object.union(evidence_fixtures.snp, {"reference": [{"name": "x", "kind": "snp", "measurement": ["11"], "platform": {"chip_id": ["bb"]}}]})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_firmware_alone_is_incomplete if {
	document := object.union(evidence_fixtures.tdx, {"reference": [{"name": "x", "kind": "tdx", "measurement": ["11"]}]})
	tier(document) == "warning"
	codes(document) == {"attestation.reference-incomplete"}
}

test_a_match_without_measurement_is_incomplete if {
	document := object.union(evidence_fixtures.snp, {"reference": [{"name": "x", "kind": "snp", "match": {"platform.host_data": ["22"]}}]})
	tier(document) == "warning"
	codes(document) == {"attestation.reference-incomplete"}
}
