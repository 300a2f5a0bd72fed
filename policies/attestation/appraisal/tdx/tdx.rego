# METADATA
# title: Intel TDX, by itself, under a vTPM or in a token
# description: |
#   Intel's status of the platform's TCB, and its open advisories, as data/attestation weighs them.
# custom:
#   code: attestation.tcb
#   severity: critical
package demesne.attestation.appraisal.tdx

import data.data.attestation
import data.demesne.attestation.appraisal.submodules

domains[name] := submodules.platform[name] if {
	some name, claims in submodules.proven
	claims.tee == "tdx"
	claims.kind in {"tdx", "azure-vtpm", "trust-authority"}
}

# Quotes name a platform; a token of Intel's service names none, and its issuer answers for it.
affirms contains [name, "instance-identity"] if {
	some name, platform in domains
	is_string(platform.ppid)
	platform.ppid != ""
}

affirms contains [name, "configuration"] if {
	some name, platform in domains
	is_string(platform.td_attributes)
}

affirms contains [name, "hardware"] if {
	some name, platform in domains
	tcb_tier(platform) == "affirming"
	no_advisory(platform)
}

affirms contains [name, "runtime-opaque"] if some name, _ in domains

tcb_tier(platform) := data.demesne.attestation.appraisal.tiers.listed(attestation.tcb_statuses, object.get(platform, "tcb_status", ""))

no_advisory(platform) if {
	is_array(object.get(platform, "advisories", []))
	every advisory in object.get(platform, "advisories", []) {
		advisory in attestation.accepted_advisories
	}
}

doubts contains doubt(name, tier, "attestation.tcb", "The platform's TCB is not up to date", "have the host's firmware and microcode updated") if {
	some name, platform in domains
	tier := tcb_tier(platform)
	tier != "affirming"
}

doubts contains doubt(name, "warning", "attestation.advisory", "Advisories of the maker are open for this platform", "have the host updated, or the advisories accepted in the doctrine's data") if {
	some name, platform in domains
	not no_advisory(platform)
}

doubt(name, tier, code, message, remedy) := {
	"submod": name,
	"claim": "hardware",
	"tier": tier,
	"rule": "attestation/appraisal/tdx",
	"code": code,
	"message": message,
	"remedy": remedy,
}
