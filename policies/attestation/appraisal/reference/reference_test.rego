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

released(kind, paths) := {
	"name": "released", "kind": kind,
	"match": object.filter({"platform.endorsement_issuer": ["did:a"], "platform.endorsement_feed": ["uvm"], "platform.host_data": ["22"], "platform.pcr4": ["22"]}, paths),
}

endorsed_claims := {"platform": {"endorsement_issuer": "did:a", "endorsement_feed": "uvm", "endorsement_svn": 22}}

endorsed_snp(changes, paths) := object.union_n([evidence_fixtures.snp, {"claims": endorsed_claims, "reference": [released("snp", paths)]}, {"claims": changes}])

endorsed_azure(changes, paths) := object.union_n([evidence_fixtures.azure, {"claims": endorsed_claims, "reference": [released("azure-vtpm", paths)]}, {"claims": changes}])

of_snp := ["platform.endorsement_issuer", "platform.endorsement_feed", "platform.host_data"]

of_azure := ["platform.endorsement_issuer", "platform.endorsement_feed", "platform.pcr4"]

test_an_endorsed_release_is_affirming_whatever_its_measurement if {
	tier(endorsed_snp({"measurement": "12"}, of_snp)) == "affirming"
	tier(endorsed_azure({"measurement": "12"}, of_azure)) == "affirming"
	answer := evidence.appraisal with input as endorsed_snp({"measurement": "12"}, of_snp)
	answer.submods.cpu0.reference == "released"
}

test_a_release_that_no_reference_value_names_is_a_warning if {
	document := object.union(evidence_fixtures.snp, {"claims": object.union({"measurement": "12"}, endorsed_claims)})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_another_endorser_feed_or_workload_holds_not if {
	every platform in [{"endorsement_issuer": "did:b"}, {"endorsement_feed": "other"}, {"host_data": "23"}] {
		document := endorsed_snp({"platform": platform}, of_snp)
		tier(document) == "warning"
		codes(document) == {"attestation.measurement-unknown"}
	}
}

test_who_is_not_endorsed_holds_not if {
	document := object.union(evidence_fixtures.snp, {"reference": [released("snp", of_snp)]})
	tier(document) == "warning"
	codes(document) == {"attestation.measurement-unknown"}
}

test_a_release_says_too_little_without_issuer_feed_and_workload if {
	every path in of_snp {
		document := endorsed_snp({}, [other | some other in of_snp; other != path])
		tier(document) == "warning"
		codes(document) == {"attestation.reference-incomplete"}
	}
	every path in of_azure {
		document := endorsed_azure({}, [other | some other in of_azure; other != path])
		tier(document) == "warning"
		codes(document) == {"attestation.reference-incomplete"}
	}
}

test_a_table_without_paths_endorses_nobody if {
	document := endorsed_snp({}, of_snp)
	every groups in [[], null, {}] {
		found := evidence.appraisal with input as document with data.data.attestation.endorsed as {"snp": groups}
		found.tier == "warning"
	}
}
