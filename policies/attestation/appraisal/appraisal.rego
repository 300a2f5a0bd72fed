# METADATA
# title: What evidence is worth
# description: |
#   AR4SI: a trust vector and a tier for each submodule, over verified claims. A claim is what the worst doubt about
#   it says; without a doubt, affirming if a rule affirms it. A submodule of which something that matters is neither
#   affirmed nor doubted is contraindicated. The whole is the worst of its parts.
# custom:
#   code: attestation.unproven
#   severity: critical
package demesne.attestation.appraisal

import data.demesne.attestation.appraisal.submodules
import data.demesne.attestation.appraisal.tiers

affirmed := device_affirms | machine_affirms

machine_affirms := (((data.demesne.attestation.appraisal.snp.affirms | data.demesne.attestation.appraisal.tdx.affirms) | data.demesne.attestation.appraisal.nitro.affirms) | data.demesne.attestation.appraisal.tokens.affirms) | data.demesne.attestation.appraisal.reference.affirms

device_affirms := data.demesne.attestation.appraisal.nvgpu.affirms | data.demesne.attestation.appraisal.tpm.affirms

doubted := (concerns | machine_doubts) | device_doubts

concerns := ((((submodules.doubts | data.demesne.attestation.appraisal.binding.doubts) | data.demesne.attestation.appraisal.debug.doubts) | data.demesne.attestation.appraisal.synthetic.doubts) | data.demesne.attestation.appraisal.interactive.doubts) | data.demesne.attestation.appraisal.required.doubts

machine_doubts := (((data.demesne.attestation.appraisal.sample.doubts | data.demesne.attestation.appraisal.snp.doubts) | data.demesne.attestation.appraisal.tdx.doubts) | data.demesne.attestation.appraisal.azure.doubts) | data.demesne.attestation.appraisal.tokens.doubts

device_doubts := (data.demesne.attestation.appraisal.nvgpu.doubts | data.demesne.attestation.appraisal.tpm.doubts) | reference_doubts

# The maker's golden values are reference values too.
reference_doubts := {doubt |
	some doubt in data.demesne.attestation.appraisal.reference.doubts
	not doubt.submod in object.keys(data.demesne.attestation.appraisal.nvgpu.golden)
}

# What has to be said of every proven part; of a TPM's memory there is nothing to say.
important := ["instance-identity", "configuration", "executables", "hardware", "runtime-opaque"]

unproven contains [name, claim] if {
	some name, claims in submodules.proven
	some claim in important
	not exempt(claims, claim)
	not [name, claim] in affirmed
	not doubtful(name, claim)
}

exempt(claims, claim) if {
	claims.kind == "tpm"
	claim == "runtime-opaque"
}

doubtful(name, claim) if {
	some doubt in doubted
	doubt.submod == name
	doubt.claim == claim
}

words(name, claim) := {doubt.tier |
	some doubt in doubted
	doubt.submod == name
	doubt.claim == claim
}

claim_tier(name, claim) := "contraindicated" if {
	[name, claim] in unproven
} else := data.demesne.attestation.appraisal.tiers.worst(words(name, claim)) if {
	count(words(name, claim)) > 0
} else := "affirming" if {
	[name, claim] in affirmed
} else := "none"

named := object.keys(submodules.all) | {doubt.submod | some doubt in doubted}

vectors[name] := vector if {
	some name in named
	vector := {claim: claim_tier(name, claim) | some claim in tiers.vector_claims}
}

submods[name] := submod if {
	some name, vector in vectors
	given := {word | some word in vector}
	submod := {"tier": data.demesne.attestation.appraisal.tiers.worst(given), "vector": vector, "reference": reference_of(name)}
}

reference_of(name) := data.demesne.attestation.appraisal.reference.matched[name] if {
	data.demesne.attestation.appraisal.reference.matched[name]
} else := data.demesne.attestation.appraisal.nvgpu.golden[name] if {
	data.demesne.attestation.appraisal.nvgpu.golden[name]
} else := null

default tier := "contraindicated"

tier := data.demesne.attestation.appraisal.tiers.worst(given) if {
	count(data.demesne.attestation.appraisal.required.refused) == 0
	count(submods) > 0
	given := {submod.tier | some submod in submods}
	data.demesne.attestation.appraisal.tiers.worst(given) != "none"
}

reasons contains reason if some reason in data.demesne.attestation.appraisal.required.refused

reasons contains reason if {
	some doubt in doubted
	reason := {
		"rule": doubt.rule,
		"code": doubt.code,
		"message": concat(": ", [doubt.submod, doubt.message]),
		"remedy": doubt.remedy,
	}
}

reasons contains reason if {
	some pair in unproven
	reason := {
		"rule": "attestation/appraisal",
		"code": "attestation.unproven",
		"message": concat("", [pair[0], ": nothing proves its ", pair[1]]),
		"remedy": "use a verifier that states it, or a kind of evidence the doctrine appraises",
	}
}
