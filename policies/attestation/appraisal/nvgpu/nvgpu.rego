# METADATA
# title: NVIDIA GPUs and switches, by their own reports
# description: |
#   What a device runs is affirmed by the maker's golden values of driver and firmware, or by a reference value that
#   names both. Device certificates never end: whether nobody asked for their revocation is a claim, and
#   data/attestation says what that is worth.
# custom:
#   code: attestation.revocation-unchecked
#   severity: high
package demesne.attestation.appraisal.nvgpu

import data.data.attestation
import data.demesne.attestation.appraisal.submodules

devices[name] := submodules.platform[name] if {
	some name, claims in submodules.proven
	claims.kind == "nvgpu"
}

affirms contains [name, claim] if {
	some name, platform in devices
	is_string(platform.model)
	some claim in ["instance-identity", "configuration", "runtime-opaque"]
}

affirms contains [name, "hardware"] if {
	some name, platform in devices
	is_string(platform.model)
	trusted_unasked(platform)
}

affirms contains [name, "executables"] if some name, _ in golden

# The maker's manifests of driver and firmware were both here, and every block they speak of was right.
golden[name] := concat("+", platform.manifests) if {
	some name, platform in devices
	platform.golden_complete == true
	platform.golden_blocks > 0
	is_array(platform.manifests)
	count(platform.manifests) > 0
}

asked(platform) if platform.revocation_checked > 0

trusted_unasked(platform) if asked(platform)

trusted_unasked(_) if data.demesne.attestation.appraisal.tiers.listed(attestation.revocation, "unchecked") == "affirming"

doubts contains doubt if {
	some name, platform in devices
	not asked(platform)
	tier := data.demesne.attestation.appraisal.tiers.listed(attestation.revocation, "unchecked")
	tier != "affirming"
	doubt := {
		"submod": name,
		"claim": "hardware",
		"tier": tier,
		"rule": "attestation/appraisal/nvgpu",
		"code": "attestation.revocation-unchecked",
		"message": "Nobody asked whether the device's certificates were revoked",
		"remedy": "import revocation lists or OCSP answers of the device's maker",
	}
}
