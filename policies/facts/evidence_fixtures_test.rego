# METADATA
# title: Evidence that is affirming
# description: Each test takes one of these and changes the one thing its rule is about.
package demesne.evidence_fixtures

question(claims, reference) := {
	"claims": claims,
	"posture": "production",
	"purpose": "claims-risk-model",
	"dataset_scope": [{"name": "claims", "synthetic": false, "label": "personal"}],
	"reference": reference,
}

proven := {"debug": false, "hardware": true, "synthetic_only": false}

snp_claims := object.union(proven, {
	"kind": "snp", "tee": "sev-snp", "measurement": "11",
	"platform": {"bound": true, "product": "Genoa", "chip_id": "aa", "provider": "", "vmpl": 0, "reported_tcb": "1.2.3", "host_data": "22"},
})

tdx_claims := object.union(proven, {
	"kind": "tdx", "tee": "tdx", "measurement": "11",
	"platform": {"bound": true, "tcb_status": "UpToDate", "advisories": [], "ppid": "aa", "td_attributes": "10", "rtmr1": "22", "mrconfigid": "00"},
})

nitro_claims := object.union(proven, {
	"kind": "nitro", "tee": "nitro", "measurement": "11",
	"platform": {"bound": true, "module_id": "i-1-enc1", "pcr8": "22"},
})

azure_claims := object.union(snp_claims, {
	"kind": "azure-vtpm",
	"platform": {"console": false, "secure_boot": true, "pcr4": "22"},
})

space_claims := object.union(proven, {
	"kind": "confidential-space", "tee": "GCP_AMD_SEV_SNP", "measurement": "sha256:11",
	"platform": {"bound": true, "env_override": [], "cmd_override": false},
})

tpm_claims := {
	"kind": "tpm", "tee": "tpm", "measurement": "11", "debug": false, "hardware": false, "synthetic_only": false,
	"platform": {"bound": true, "key": "aa", "pcr_policy": [4], "pcr4": "22"},
}

gpu_claims := object.union(proven, {
	"kind": "nvgpu", "tee": "nvgpu", "measurement": "33",
	"platform": {"bound": true, "model": "GH100", "driver": "550", "vbios": "96", "golden_blocks": 31, "golden_complete": true, "manifests": ["driver", "firmware"], "revocation_checked": 3},
})

snp := question(snp_claims, [{"name": "trainer", "kind": "snp", "measurement": ["11"], "match": {"platform.host_data": ["22"]}}])

tdx := question(tdx_claims, [{"name": "trainer", "kind": "tdx", "measurement": ["11"], "match": {"platform.rtmr1": ["22"]}}])

nitro := question(nitro_claims, [{"name": "trainer", "kind": "nitro", "measurement": ["11"]}])

azure := question(azure_claims, [{"name": "trainer", "kind": "azure-vtpm", "measurement": ["11"], "match": {"platform.pcr4": ["22"]}}])

space := question(space_claims, [{"name": "trainer", "kind": "confidential-space", "measurement": ["sha256:11"]}])

tpm := object.union(
	question(tpm_claims, [{"name": "trainer", "kind": "tpm", "match": {"platform.pcr4": ["22"]}}]),
	{"posture": "development"},
)

gpu := question(object.union(snp_claims, {"devices": [gpu_claims]}), snp.reference)

sample := {
	"claims": {"kind": "sample", "tee": "none", "measurement": "00", "debug": true, "synthetic_only": true, "hardware": false},
	"posture": "development",
	"purpose": "claims-risk-model",
	"dataset_scope": [{"name": "claims", "synthetic": true, "label": "personal"}],
	"reference": [],
}
