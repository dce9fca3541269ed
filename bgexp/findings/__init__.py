"""Rows to findings: what stands out, with the numbers behind it and a setting to try. Pure."""

from bgexp.findings.evidence import trusted
from bgexp.findings.finding import Finding, Job
from bgexp.findings.run import run_findings
from bgexp.findings.sweep import sweep_findings
from bgexp.findings.variants import job_names

__all__ = ["Finding", "Job", "job_names", "run_findings", "sweep_findings", "trusted"]
