# METADATA
# title: The operator has no way in, and changed nothing that is not measured
# description: |
#   A console, or an environment and command that the operator set against the image, are in no measurement.
#   data/attestation says what each is worth.
# custom:
#   code: attestation.interactive
#   severity: high
package demesne.attestation.appraisal.interactive

import data.data.attestation
import data.demesne.attestation.appraisal.submodules

doubts contains doubt(name, tier, "The machine has a console", "create the machine without a console, or have the doctrine's data accept it") if {
	some name, claims in submodules.proven
	claims.kind == "azure-vtpm"
	not no_console(name)
	tier := data.demesne.attestation.appraisal.tiers.listed(attestation.interactive, "console")
	tier != "affirming"
}

doubts contains doubt(name, tier, "The operator changed the image's environment or command", "start the image as it was built, or have the doctrine's data accept the variables") if {
	some name, claims in submodules.proven
	claims.kind == "confidential-space"
	not as_built(name)
	tier := data.demesne.attestation.appraisal.tiers.listed(attestation.interactive, "override")
	tier != "affirming"
}

no_console(name) if submodules.platform[name].console == false

as_built(name) if {
	submodules.platform[name].cmd_override == false
	is_array(submodules.platform[name].env_override)
	every variable in submodules.platform[name].env_override {
		variable in attestation.accepted_variables
	}
}

doubt(name, tier, message, remedy) := {
	"submod": name,
	"claim": "configuration",
	"tier": tier,
	"rule": "attestation/appraisal/interactive",
	"code": "attestation.interactive",
	"message": message,
	"remedy": remedy,
}
