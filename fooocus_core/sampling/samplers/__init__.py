"""The samplers, one file per family; every function has the signature of ``SamplerFunction``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fooocus_core.choices import Sampler
from fooocus_core.sampling.samplers.base import SamplerFunction
from fooocus_core.sampling.samplers.distilled import lcm, tcd
from fooocus_core.sampling.samplers.dpm2 import dpm_2, dpm_2_ancestral
from fooocus_core.sampling.samplers.dpm_solver import dpm_adaptive, dpm_fast
from fooocus_core.sampling.samplers.dpmpp import dpmpp_2m, dpmpp_2s_ancestral
from fooocus_core.sampling.samplers.dpmpp_sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from fooocus_core.sampling.samplers.euler import ddpm, euler, euler_ancestral
from fooocus_core.sampling.samplers.heun import heun, heunpp2
from fooocus_core.sampling.samplers.lms import lms
from fooocus_core.sampling.samplers.restart import restart
from fooocus_core.sampling.samplers.unipc import uni_pc, uni_pc_bh2

# The "_gpu" names are the same functions: noise is always drawn where sampling happens.
SAMPLERS: Mapping[Sampler, SamplerFunction] = MappingProxyType(
    {
        Sampler.EULER: euler,
        Sampler.EULER_ANCESTRAL: euler_ancestral,
        Sampler.HEUN: heun,
        Sampler.HEUNPP2: heunpp2,
        Sampler.DPM_2: dpm_2,
        Sampler.DPM_2_ANCESTRAL: dpm_2_ancestral,
        Sampler.LMS: lms,
        Sampler.DPM_FAST: dpm_fast,
        Sampler.DPM_ADAPTIVE: dpm_adaptive,
        Sampler.DPMPP_2S_ANCESTRAL: dpmpp_2s_ancestral,
        Sampler.DPMPP_SDE: dpmpp_sde,
        Sampler.DPMPP_SDE_GPU: dpmpp_sde,
        Sampler.DPMPP_2M: dpmpp_2m,
        Sampler.DPMPP_2M_SDE: dpmpp_2m_sde,
        Sampler.DPMPP_2M_SDE_GPU: dpmpp_2m_sde,
        Sampler.DPMPP_3M_SDE: dpmpp_3m_sde,
        Sampler.DPMPP_3M_SDE_GPU: dpmpp_3m_sde,
        Sampler.DDPM: ddpm,
        Sampler.LCM: lcm,
        Sampler.TCD: tcd,
        Sampler.RESTART: restart,
        Sampler.DDIM: euler,
        Sampler.UNI_PC: uni_pc,
        Sampler.UNI_PC_BH2: uni_pc_bh2,
    }
)
