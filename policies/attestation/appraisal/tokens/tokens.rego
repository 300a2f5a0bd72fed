# METADATA
# title: Verdicts of other verifiers
# description: |
#   A pinned issuer's token: what the issuer looked at it answers for, and the reference values say which verdicts
#   are about our workload. Intel's tokens state a TCB, of which tdx speaks.
# custom:
#   code: attestation.platform
#   severity: critical
package demesne.attestation.appraisal.tokens

import data.data.attestation
import data.demesne.attestation.appraisal.submodules

kinds := {
	"maa": {"instance-identity", "configuration", "hardware", "runtime-opaque"},
	"confidential-space": {"instance-identity", "configuration", "runtime-opaque"},
	"trust-authority": {"instance-identity", "configuration"},
	"nras": {"instance-identity", "configuration", "hardware", "runtime-opaque"},
	"ear": {"instance-identity", "configuration", "hardware", "runtime-opaque"},
}

affirms contains [name, claim] if {
	some name, claims in submodules.proven
	some claim in kinds[claims.kind]
}

affirms contains [name, "hardware"] if {
	some name, claims in submodules.proven
	claims.kind == "confidential-space"
	model_tier(claims) == "affirming"
}

model_tier(claims) := data.demesne.attestation.appraisal.tiers.listed(attestation.space_models, claims.tee)

doubts contains doubt if {
	some name, claims in submodules.proven
	claims.kind == "confidential-space"
	tier := model_tier(claims)
	tier != "affirming"
	doubt := {
		"submod": name,
		"claim": "hardware",
		"tier": tier,
		"rule": "attestation/appraisal/tokens",
		"code": "attestation.platform",
		"message": "This kind of machine encrypts memory and does not attest itself",
		"remedy": "run the image on a machine type that data/attestation lists as affirming",
	}
}
