# METADATA
# title: The parts of the attested environment
# description: |
#   One submodule a processor, TPM, GPU or switch, named as EAR does: cpu0, tpm0, gpu0, nvswitch0. Evidence
#   of a device never stands in the place of a machine's, nor the other way round. What has no name here is
#   trusted by nothing.
# custom:
#   code: attestation.no-rule
#   severity: critical
package demesne.attestation.appraisal.submodules

machine_kinds := {
	"snp",
	"tdx",
	"nitro",
	"azure-vtpm",
	"maa",
	"confidential-space",
	"trust-authority",
	"ear",
}

# Name of a submodule to the claims about it.
all["cpu0"] := machine if machine.kind in machine_kinds

all["cpu0"] := machine if sample

all["tpm0"] := machine if machine.kind == "tpm"

all["unknown0"] := machine if not known_machine

all[name] := claims if {
	some index, claims in gpus
	name := concat("", ["gpu", format_int(index, 10)])
}

all[name] := claims if {
	some index, claims in switches
	name := concat("", ["nvswitch", format_int(index, 10)])
}

all[name] := claims if {
	some index, claims in strange
	name := concat("", ["device", format_int(index, 10)])
}

# Those that evidence speaks for: neither sample nor unknown. The rules about evidence look at these.
proven[name] := claims if {
	some name, claims in all
	not sample_named(name)
	not name in unknown
}

# Of every part, be it empty: regorus fails where a rule's value is undefined in the middle of a loop.
platform[name] := platform_of(claims) if some name, claims in all

platform_of(claims) := claims.platform if {
	is_object(claims.platform)
} else := {}

machine := input.claims if is_object(input.claims)

known_machine if machine.kind in machine_kinds

known_machine if machine.kind == "tpm"

known_machine if sample

# Claims that hide what sample evidence is are of no kind.
sample if {
	machine.kind == "sample"
	machine.synthetic_only == true
}

sample_named(name) if {
	name == "cpu0"
	sample
}

default devices := []

devices := machine.devices if is_array(machine.devices)

# Not even a list: one device of no kind, rather than none.
devices := [null] if {
	machine.devices
	not is_array(machine.devices)
}

# The service that attests devices (NRAS) answers for several at once.
gpus := [claims | some claims in devices; some _ in seats(claims)]

seats(claims) := [0] if {
	claims.kind == "nvgpu"
	claims.tee == "nvgpu"
}

seats(claims) := claims.platform.models if {
	claims.kind == "nras"
	is_array(claims.platform.models)
}

switches := [claims | some claims in devices; switch(claims)]

switch(claims) if {
	claims.kind == "nvgpu"
	claims.tee == "nvswitch"
}

strange := [claims | some claims in devices; not seated(claims)]

seated(claims) if count(seats(claims)) > 0

seated(claims) if switch(claims)

unknown contains name if {
	some index, _ in strange
	name := concat("", ["device", format_int(index, 10)])
}

unknown contains "unknown0" if not known_machine

doubts contains doubt if {
	some name in unknown
	doubt := {
		"submod": name,
		"claim": "instance-identity",
		"tier": "contraindicated",
		"rule": "attestation/appraisal/submodules",
		"code": "attestation.no-rule",
		"message": "No rule of the doctrine trusts this kind of evidence",
		"remedy": "use a kind of evidence the doctrine appraises",
	}
}
