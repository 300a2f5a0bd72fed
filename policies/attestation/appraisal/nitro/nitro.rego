# METADATA
# title: AWS Nitro Enclaves
# description: |
#   The hypervisor's document names its module and the enclave's PCRs; an enclave has no console and no disk.
package demesne.attestation.appraisal.nitro

import data.demesne.attestation.appraisal.submodules

affirms contains [name, claim] if {
	some name, claims in submodules.proven
	claims.kind == "nitro"
	claims.tee == "nitro"
	is_string(submodules.platform[name].module_id)
	submodules.platform[name].module_id != ""
	some claim in ["instance-identity", "configuration", "hardware", "runtime-opaque"]
}
