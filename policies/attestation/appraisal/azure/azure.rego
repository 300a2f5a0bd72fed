# METADATA
# title: Azure confidential VMs
# description: |
#   The hardware under the vTPM is appraised as such (snp, tdx). Here: what the paravisor's signed configuration
#   says besides. A console is in appraisal/interactive.
# custom:
#   code: attestation.secure-boot
#   severity: high
package demesne.attestation.appraisal.azure

import data.data.attestation
import data.demesne.attestation.appraisal.submodules

doubts contains doubt if {
	some name, claims in submodules.proven
	claims.kind == "azure-vtpm"
	not secure(name)
	tier := data.demesne.attestation.appraisal.tiers.listed(attestation.interactive, "secure_boot_off")
	tier != "affirming"
	doubt := {
		"submod": name,
		"claim": "configuration",
		"tier": tier,
		"rule": "attestation/appraisal/azure",
		"code": "attestation.secure-boot",
		"message": "Secure boot is off",
		"remedy": "create the machine with secure boot",
	}
}

secure(name) if submodules.platform[name].secure_boot == true
