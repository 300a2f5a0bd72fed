# METADATA
# title: AMD SEV-SNP, by itself or under a vTPM
# description: |
#   The verifier held chain, chip, TCB floors and policy against each other; here stands what that is worth.
#   data/attestation has a tier for each product line: one whose root was extracted signs any TCB.
# custom:
#   code: attestation.product
#   severity: critical
package demesne.attestation.appraisal.snp

import data.data.attestation
import data.demesne.attestation.appraisal.submodules

guests[name] := submodules.platform[name] if {
	some name, claims in submodules.proven
	claims.tee == "sev-snp"
	claims.kind in {"snp", "azure-vtpm"}
}

affirms contains [name, "instance-identity"] if {
	some name, platform in guests
	identity(platform)
}

affirms contains [name, "configuration"] if {
	some name, platform in guests
	listed_level(platform)
}

affirms contains [name, "hardware"] if {
	some name, platform in guests
	is_string(platform.reported_tcb)
	product_tier(platform) == "affirming"
}

affirms contains [name, "runtime-opaque"] if some name, _ in guests

# A rule of its own, because OPA and regorus differ on `not x in y` where x is undefined.
listed_level(platform) if platform.vmpl in attestation.vmpls

# A chip, or the provider that a VLEK is for.
identity(platform) if {
	is_string(platform.chip_id)
	platform.chip_id != ""
}

identity(platform) if {
	is_string(platform.provider)
	platform.provider != ""
}

product_tier(platform) := data.demesne.attestation.appraisal.tiers.listed(attestation.products, object.get(platform, "product", ""))

doubts contains doubt if {
	some name, platform in guests
	tier := product_tier(platform)
	tier != "affirming"
	doubt := {
		"submod": name,
		"claim": "hardware",
		"tier": tier,
		"rule": "attestation/appraisal/snp",
		"code": "attestation.product",
		"message": "The doctrine does not fully trust this line of processors",
		"remedy": "run the job on a line that data/attestation lists as affirming",
	}
}

doubts contains doubt if {
	some name, platform in guests
	not listed_level(platform)
	doubt := {
		"submod": name,
		"claim": "configuration",
		"tier": "warning",
		"rule": "attestation/appraisal/snp",
		"code": "attestation.vmpl",
		"message": "The report is of a privilege level that the doctrine does not list",
		"remedy": "ask for the report at a listed level, or have the doctrine's data list it",
	}
}
