"""`platforms.json`: which hardware is admitted at all, and from which firmware on.

A kind without its section is not admitted. A list that is missing leaves the question to the doctrine, which sees the
claim; an empty one admits nothing. Who is denied stays denied, whatever else admits him.
"""

from dataclasses import dataclass

from vault.attest.nitro.verify import NitroPolicy
from vault.attest.nvidia.verify import NvidiaPolicy
from vault.attest.snp.policy import SnpPolicy
from vault.attest.snp.product import Product, Tcb
from vault.attest.tdx.tcb import REVOKED, STATUSES, UP_TO_DATE
from vault.attest.tdx.verify import TdxPolicy
from vault.attest.trust.document import Dated, Section, open_document, wrong

SCHEMA = "demesne.trust.platforms/1"
_CSP = r"[ -~]{1,128}"
_MODULE = r"i-[0-9a-f]{1,32}(?:-enc[0-9a-f]{1,32})?"
_INSTANCE = r"i-[0-9a-f]{1,32}"
_DRIVER = r"\d{1,5}(?:\.\d{1,5}){1,4}"
_VBIOS = r"[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}"
_TURIN_CHIP = 8


@dataclass(frozen=True, slots=True)
class AzureRules:
    """What is asked of a vTPM beside the hardware under it, which its own section must admit."""

    secure_boot: bool


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """What is asked of NVIDIA's devices. `needs_manifests`: golden values of driver and firmware must be here."""

    policy: NvidiaPolicy
    needs_manifests: bool


@dataclass(frozen=True, slots=True)
class Platforms:
    """Policies by kind, None where nothing of a kind is admitted."""

    snp: SnpPolicy | None = None
    tdx: TdxPolicy | None = None
    nitro: NitroPolicy | None = None
    azure: AzureRules | None = None
    devices: DeviceRules | None = None


def parse_platforms(raw: bytes) -> tuple[Platforms, Dated]:
    """Raises Malformed, which names the field and what to write there."""
    document, dated = open_document(raw, SCHEMA)
    snp, tdx, nitro, azure, devices = (
        document.section(name) for name in ("snp", "tdx", "nitro", "azure-vtpm", "nvgpu")
    )  # fmt: skip
    document.end()
    platforms = Platforms(
        _snp(snp) if snp else None, _tdx(tdx) if tdx else None, _nitro(nitro) if nitro else None,
        _azure(azure) if azure else None, _devices(devices) if devices else None,
    )  # fmt: skip
    if platforms.azure and not (platforms.snp or platforms.tdx):
        raise wrong("azure-vtpm", "it rests on hardware: a section snp or tdx must admit that")
    return platforms, dated


def _snp(section: Section) -> SnpPolicy:
    denied = section.texts("deny_products", "|".join(Product), frozenset())
    floors = {product: floor for product, floor in _floors(section).items() if product not in denied}
    chips = section.hexes("allow_chips", (64, _TURIN_CHIP), None)
    policy = SnpPolicy(
        vmpls=_vmpls(section),
        providers=section.texts("allow_providers", _CSP, frozenset()),
        floors=floors,
        chips=None if chips is None else frozenset(chip.ljust(64, b"\0") for chip in chips),
        denied_chips=frozenset(
            chip.ljust(64, b"\0") for chip in section.hexes("deny_chips", (64, _TURIN_CHIP), frozenset())
        ),
        denied_providers=section.texts("deny_providers", _CSP, frozenset()),
        platform_info=section.whole("platform_info", 0, (1 << 53) - 1, 0),
        mitigations=section.whole("mitigations", 0, (1 << 53) - 1, 0),
        needs_revocation=section.flag("needs_revocation", default=False),
    )
    section.end()
    return policy


def _floors(section: Section) -> dict[Product, Tcb]:
    products = section.section("products")
    if products is None:
        raise wrong(
            section.at("products"), 'missing; name each product line with its floor: {"Genoa": {"bootloader": 10, …}}'
        )
    found = {}
    for name in products.names():
        if name not in set(Product):
            raise wrong(products.at(name), f"a product line is one of {', '.join(Product)}")
        floor = products.section(name)
        assert floor is not None
        numbers = {part: floor.whole(part, 0, 255) for part in ("bootloader", "tee", "snp", "microcode")}
        found[Product(name)] = Tcb(**numbers, fmc=floor.whole("fmc", 0, 255, 0))
        floor.end()
    products.end()
    return found


def _vmpls(section: Section) -> frozenset[int]:
    listed = section.take("vmpls", [0])
    if not isinstance(listed, list) or not all(type(one) is int and 0 <= one <= 3 for one in listed):
        raise wrong(section.at("vmpls"), "a list of whole numbers from 0 to 3 expected")
    return frozenset(listed)


def _tdx(section: Section) -> TdxPolicy:
    policy = TdxPolicy(
        statuses=section.texts("statuses", "|".join(sorted(STATUSES - {REVOKED})), frozenset({UP_TO_DATE})),
        min_evaluation_number=section.whole("min_evaluation_number", 1, 0xFFFF),
        max_collateral_age_days=section.whole("max_collateral_age_days", 1, 90, 30),
        platforms=section.hexes("allow_ppids", (16,), None),
        denied_platforms=section.hexes("deny_ppids", (16,), frozenset()),
        fmspcs=section.hexes("allow_fmspcs", (6,), None),
        denied_fmspcs=section.hexes("deny_fmspcs", (6,), frozenset()),
        denied_modules=section.hexes("deny_modules", (48,), frozenset()),
        needs_event_log=section.flag("needs_event_log", default=False),
    )
    section.end()
    return policy


def _nitro(section: Section) -> NitroPolicy:
    policy = NitroPolicy(
        instances=section.texts("allow_instances", _INSTANCE, None),
        denied=section.texts("deny_modules", _MODULE, frozenset()),
        modules=section.texts("allow_modules", _MODULE, None),
        max_age_ms=1000 * section.whole("max_age_seconds", 1, 600, 300),
    )
    section.end()
    return policy


def _azure(section: Section) -> AzureRules:
    rules = AzureRules(section.flag("secure_boot", default=True))
    section.end()
    return rules


def _devices(section: Section) -> DeviceRules:
    policy = NvidiaPolicy(
        drivers=section.texts("allow_drivers", _DRIVER, None),
        vbioses=section.texts("allow_vbioses", _VBIOS, None),
        denied_drivers=section.texts("deny_drivers", _DRIVER, frozenset()),
        denied_vbioses=section.texts("deny_vbioses", _VBIOS, frozenset()),
        min_driver=section.text("min_driver", _DRIVER, ""),
        min_vbios=section.text("min_vbios", _VBIOS, ""),
        min_switch_bios=section.text("min_switch_bios", _VBIOS, ""),
        needs_revocation=section.flag("needs_revocation", default=False),
        needs_firmware_identity=section.flag("needs_firmware_identity", default=True),
    )
    rules = DeviceRules(policy, section.flag("needs_manifests", default=True))
    section.end()
    return rules
