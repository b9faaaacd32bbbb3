"""Names of the files of a run, of a meta portfolio and of a backtest, relative to their directory."""

# What it was made from.
RESOLVED = "config/resolved_manifest.json"
INPUTS = "config/inputs.json"
ENVIRONMENT = "config/environment.json"
JUDGED = "config/selection_audit.json"
BIAS = "config/bias.json"
PROVENANCE = "config/provenance.json"
WALKED = "config/walk_forward.json"

# What the stages of the alpha cycle make.
MATRIX = "data/returns_matrix.parquet"
CERTIFICATE = "data/returns_certificate.parquet"
SELECTION_FRAME = "data/selection.parquet"
SELECTION_RECORD = "data/selection.json"
STREAMS = "data/synthetic_returns.parquet"
COMPOSITION = "data/synthetic_composition.parquet"
WEIGHTS_FRAME = "data/weights.parquet"
WEIGHTS_RECORD = "data/weights.json"
WEIGHTS_TEXT = "data/weights.csv"

# What a meta portfolio copies of its sleeves.
SLEEVE_RETURNS = "data/sleeve_returns.parquet"
SLEEVE_WEIGHTS = "data/sleeve_weights.parquet"

# What a backtest makes, beside weights.
FOLDS = "data/folds.parquet"
FOLDS_TEXT = "data/folds.csv"
EARNED = "data/returns.parquet"

# For people, and the proof.
REPORT = "reports/report.html"
REPORT_TEXT = "reports/report.md"
PICTURE = "plots/weights.png"
INDEX = "INDEX.md"
LOG = "audit.jsonl"
MANIFEST = "manifest.json"


def bars_file(stem: object) -> str:
    """Return the file of an instrument's daily bars."""
    return f"data/{stem}_1d.parquet"
