"""Azure confidential VMs: a paravisor's vTPM, vouched for by the SNP report or TDX quote under it."""
