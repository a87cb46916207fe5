"""The models: MLlib pipelines, xgboost, and the baselines to beat, on one encoded table.

All of them read the columns of `features.encode` and fit on its `label`. A fitted model is a saved
Spark pipeline or, for the two tables of rates, a few numbers in JSON.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from py4j.java_gateway import JavaObject
from pyspark import SparkContext
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.classification import GBTClassifier, LogisticRegression, RandomForestClassifier
from pyspark.ml.feature import SQLTransformer, StandardScaler, VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ml.features import BY_NAME, columns

SEED = 20
PARTITION_ROWS = 25_000

# Baselines: what a model has to beat to be worth its keep.
FIVE_FEATURES = (
    "is_paid",
    "hours_since_last_event",
    "songs_last_28_days",
    "thumbs_down_per_song_last_28_days",
    "adverts_per_song_last_28_days",
)
BASELINES = ("base_rate", "recency", "logistic_regression_5_features")

# Only these give contributions that add up exactly to the prediction, so only these can be chosen.
EXPLAINABLE = ("logistic_regression", "xgboost")
PENALTIES = (0.01, 0.1, 1.0)  # ridge penalties tried for the logistic regression
MAX_ROUNDS, PATIENCE = 400, 30  # of xgboost; the tune split stops it

XGBOOST: dict[str, Any] = {
    "max_depth": 3,
    "learning_rate": 0.05,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "min_child_weight": 10.0,
    "reg_lambda": 5.0,
    "max_bin": 128,
    "tree_method": "hist",
    "eval_metric": "logloss",
}


class Model(Protocol):
    """What a fitted model offers."""

    def probability(self, encoded: DataFrame) -> DataFrame:
        """The encoded rows with a column `probability` (double in [0, 1])."""

    def save(self, folder: Path) -> None:
        """Write the model into a folder that does not exist yet."""


@dataclass(frozen=True)
class RateTable:
    """A churn rate per range of one column: `rates[i]` where the value is at most `edges[i]`.

    `rates` has one more element than `edges`; `null_rate` is for rows without a value. Without
    edges it is the base rate.
    """

    column: str
    edges: tuple[float, ...]
    rates: tuple[float, ...]
    null_rate: float

    def probability(self, encoded: DataFrame) -> DataFrame:
        """The encoded rows with a column `probability`."""
        value = F.lit(self.rates[-1])
        for edge, rate in reversed(list(zip(self.edges, self.rates, strict=False))):
            value = F.when(F.col(self.column) <= edge, rate).otherwise(value)
        value = F.when(F.col(self.column).isNull(), self.null_rate).otherwise(value)
        return encoded.withColumn("probability", value.cast("double"))

    def save(self, folder: Path) -> None:
        """Write `rate_table.json` into the folder."""
        folder.mkdir(parents=True)
        (folder / "rate_table.json").write_text(json.dumps(self.__dict__), encoding="utf-8")


@dataclass(frozen=True)
class Pipeline:
    """A fitted Spark pipeline whose last stage is a binary classifier."""

    stages: PipelineModel

    def probability(self, encoded: DataFrame) -> DataFrame:
        """The encoded rows with a column `probability`, and the columns of the stages."""
        scored = self.stages.transform(encoded)
        return scored.withColumn("probability", vector_to_array(F.col("probability"))[1])

    def save(self, folder: Path) -> None:
        """Write the pipeline as Spark's own format."""
        with _shared_folder() as shared:
            if shared:
                self.stages.write().save(shared.path.toString())
                shared.files.copyToLocalFile(False, shared.path, shared.local(folder), True)
            else:
                self.stages.write().overwrite().save(_written(folder))


def load(folder: Path) -> Model:
    """Read a model that `save` wrote."""
    table = folder / "rate_table.json"
    if table.is_file():
        fields = json.loads(table.read_text(encoding="utf-8"))
        return RateTable(
            fields["column"], tuple(fields["edges"]), tuple(fields["rates"]), fields["null_rate"]
        )
    _quiet_xgboost()
    with _shared_folder() as shared:
        if not shared:
            return Pipeline(PipelineModel.load(_read(folder)))
        shared.files.copyFromLocalFile(shared.local(folder), shared.path)
        return Pipeline(PipelineModel.load(shared.path.toString()))


def _written(folder: Path) -> str:
    """A local folder as Spark writes to it: a plain path, as it takes %20 for three letters."""
    return f"file:{folder.resolve()}"


def _read(folder: Path) -> str:
    """The same to read from, where Spark takes some characters for a pattern of names."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", _written(folder))


@dataclass(frozen=True)
class _Shared:
    """Hadoop's file system, a path in it, and what makes one of a local folder."""

    files: JavaObject
    path: JavaObject
    local: Callable[[Path], JavaObject]


@contextmanager
def _shared_folder() -> Iterator[_Shared | None]:
    """A folder in the warehouse, for a while: on a cluster, executors write and read the parts of a
    model, each on its own machine. None where Spark is one machine."""
    context = SparkContext._active_spark_context
    if context is None or (context.master or "").startswith("local"):
        yield None
        return
    warehouse = context.getConf().get("spark.sql.catalog.lake.warehouse")
    jvm: Any = context._jvm
    new_path = jvm.org.apache.hadoop.fs.Path
    path = new_path(f"{warehouse}/_models/{uuid4()}")
    files = path.getFileSystem(context._jsc.hadoopConfiguration())
    try:
        yield _Shared(files, path, lambda folder: new_path(_written(folder)))
    finally:
        files.delete(path, True)


# --- fitting -------------------------------------------------------------------------------------


def fit_base_rate(encoded: DataFrame) -> RateTable:
    """The share of churners, for everybody."""
    rate = float(encoded.agg(F.avg("label")).collect()[0][0])
    return RateTable("hours_since_last_event", (), (rate,), rate)


def fit_recency(encoded: DataFrame, ranges: int = 10) -> RateTable:
    """The churn rate of each tenth of the rows by hours since the last event."""
    column = "hours_since_last_event"
    shares = [i / ranges for i in range(1, ranges)]
    edges = tuple(sorted(set(encoded.approxQuantile(column, shares, 0.001))))
    bucket = F.lit(0)
    for edge in edges:
        bucket = bucket + F.when(F.col(column) > edge, 1).otherwise(0)
    found = {
        row["bucket"]: row["rate"]
        for row in encoded.groupBy(F.when(F.col(column).isNotNull(), bucket).alias("bucket"))
        .agg(F.avg("label").alias("rate"))
        .collect()
    }
    base = fit_base_rate(encoded).null_rate
    rates = tuple(float(found.get(i, base)) for i in range(len(edges) + 1))
    return RateTable(column, edges, rates, float(found.get(None, base)))


def fit_linear_stages(encoded: DataFrame, names: Sequence[str] = tuple(BY_NAME)) -> PipelineModel:
    """Stages that make the standardised vector `scaled` for linear models (and MLlib's trees).

    Skewed values become log(1 + x), with the sign kept below 0, a null the mean of the others, and
    each feature whose null carries meaning gets a column that flags it. Vector inputs are named
    `value__<column>` and `null__<column>`.
    """
    pairs = columns(names)
    values = {
        column: f"sign({column}) * ln(1 + abs({column}))" if BY_NAME[feature].is_skewed else column
        for column, feature in pairs
    }
    means = encoded.agg(*(F.expr(f"avg({v})").alias(c) for c, v in values.items())).collect()[0]
    flagged = [column for column, feature in pairs if BY_NAME[feature].is_nullable]
    selected = [
        f"coalesce({value}, {(means[column] or 0.0)!r}D) as value__{column}"
        for column, value in values.items()
    ]
    selected += [f"if({column} is null, 1D, 0D) as null__{column}" for column in flagged]
    fill = SQLTransformer(statement=f"select *, {', '.join(selected)} from __THIS__")
    inputs = [f"value__{c}" for c in values] + [f"null__{c}" for c in flagged]
    assemble = VectorAssembler(inputCols=inputs, outputCol="vector")
    scale = StandardScaler(inputCol="vector", outputCol="scaled", withMean=True, withStd=True)
    scale_model = scale.fit(assemble.transform(fill.transform(encoded)))
    return PipelineModel([fill, assemble, scale_model])


def vectors(encoded: DataFrame, linear: PipelineModel) -> DataFrame:
    """`label` and the standardised vector `scaled`: what MLlib's classifiers fit on.

    Worth caching: several fits read it.
    """
    return linear.transform(encoded).select("label", "scaled")


def fit_logistic_regression(rows: DataFrame, linear: PipelineModel, penalty: float) -> Pipeline:
    """Ridge-penalised logistic regression on `vectors(..., linear)`."""
    estimator = LogisticRegression(
        featuresCol="scaled",
        labelCol="label",
        regParam=penalty,
        elasticNetParam=0.0,
        standardization=False,
        maxIter=100,
    )
    return _with_stages(linear, estimator.fit(rows))


def fit_random_forest(rows: DataFrame, linear: PipelineModel) -> Pipeline:
    """MLlib's random forest; its leaves hold churn rates, so its probabilities are calibrated."""
    estimator = RandomForestClassifier(
        featuresCol="scaled",
        labelCol="label",
        numTrees=60,
        maxDepth=7,
        minInstancesPerNode=20,
        subsamplingRate=0.6,
        featureSubsetStrategy="sqrt",
        seed=SEED,
    )
    return _with_stages(linear, estimator.fit(rows))


def fit_gradient_boosted_trees(rows: DataFrame, linear: PipelineModel) -> Pipeline:
    """MLlib's gradient-boosted trees."""
    estimator = GBTClassifier(
        featuresCol="scaled",
        labelCol="label",
        maxIter=40,
        maxDepth=3,
        stepSize=0.2,
        minInstancesPerNode=20,
        subsamplingRate=0.6,
        featureSubsetStrategy="0.3",
        seed=SEED,
    )
    return _with_stages(linear, estimator.fit(rows))


def fit_xgboost(encoded: DataFrame, rounds: int | None = None) -> tuple[Pipeline, int]:
    """Gradient boosting by xgboost, and its number of rounds. Nulls stay missing values.

    With `rounds` it fits that many. Without, it stops where the log loss of the rows marked by
    the boolean column `is_tune` has not improved for PATIENCE rounds.
    """
    from xgboost.spark import SparkXGBClassifier

    _quiet_xgboost()
    inputs = [column for column, _ in columns()]
    # unlike MLlib's, this vector keeps nulls (as nan)
    assemble = VectorAssembler(inputCols=inputs, outputCol="vector", handleInvalid="keep")
    stopping: dict[str, Any] = (
        {"n_estimators": rounds}
        if rounds
        else {
            "n_estimators": MAX_ROUNDS,
            "early_stopping_rounds": PATIENCE,
            "validation_indicator_col": "is_tune",
        }
    )
    estimator = SparkXGBClassifier(
        features_col="vector",
        label_col="label",
        num_workers=1,
        random_state=SEED,
        verbose=False,
        **XGBOOST,
        **stopping,
    )
    # one partition in a fixed order: rows are subsampled by position
    kept = ["user_id", "snapshot_date", "vector", "label"] + ([] if rounds else ["is_tune"])
    rows = assemble.transform(encoded).select(*kept).repartition(1)
    model = estimator.fit(rows.sortWithinPartitions("user_id", "snapshot_date"))
    best = rounds or int(model.get_booster().best_iteration) + 1
    return Pipeline(PipelineModel([assemble, model])), best


def ordered(encoded: DataFrame, rows: int) -> DataFrame:
    """The same rows (about `rows` of them), distributed and ordered by their keys alone.

    Seeds only repeat a figure when every run sees the rows in the same order. Few rows stay in
    one partition: fits run hundreds of small jobs.
    """
    return encoded.repartition(math.ceil(rows / PARTITION_ROWS), "user_id").sortWithinPartitions(
        "user_id", "snapshot_date"
    )


def _with_stages(linear: PipelineModel, model: Transformer) -> Pipeline:
    return Pipeline(PipelineModel([*linear.stages, model]))


def _quiet_xgboost() -> None:
    # it logs every parameter of every fit
    for name in ("XGBoost-PySpark", "SparkXGBClassifier", "SparkXGBClassifierModel"):
        logging.getLogger(name).setLevel(logging.ERROR)


# --- contributions -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """What a prediction is made of, exactly.

    margin = `bias_part` + sum(center * factor) + sum((part - center) * factor), where the margin
    is the log odds and the last terms are the contributions. `rows` has the columns `parts`
    (array<double>, one element per owner) and `bias_part` (double) beside the encoded ones;
    `owners[i]` is the feature that part i belongs to.
    """

    rows: DataFrame
    owners: tuple[str, ...]
    factors: tuple[float, ...]
    center: tuple[float, ...]

    def centered(self) -> Parts:
        """The same predictions with contributions that count from the mean of these rows.

        Whole-past counts grow with the log: against the mean of the training rows everybody
        looks busy today. One pass over the rows; cache them where they are costly.
        """
        mean = self.rows.agg(Summarizer.mean(array_to_vector(F.col("parts")))).collect()[0][0]
        return replace(self, center=tuple(float(value) for value in mean))


def parts(model: Model, encoded: DataFrame) -> Parts:
    """Additive parts of each prediction of an explainable model.

    Logistic regression: coefficient x (value - mean) / deviation, which the scaled vector holds.
    xgboost: TreeSHAP (Lundberg et al., Nature Machine Intelligence 2, 2020), whose values add up
    to the margin.
    """
    assert isinstance(model, Pipeline), "a model of EXPLAINABLE"
    stages: list[Any] = model.stages.stages
    *before, classifier = stages
    assemble = next(s for s in before if isinstance(s, VectorAssembler))
    owner_of = dict(columns())
    owners = tuple(
        owner_of[re.sub("^(value|null)__", "", name)] for name in assemble.getInputCols()
    )
    is_linear = hasattr(classifier, "coefficients")
    if not is_linear:
        classifier = classifier.copy({classifier.pred_contrib_col: "contributions"})
    scored = Pipeline(PipelineModel([*before, classifier])).probability(encoded)
    if is_linear:
        values, bias = vector_to_array(F.col("scaled")), F.lit(float(classifier.intercept))
        factors = tuple(float(c) for c in classifier.coefficients.toArray())
    else:
        array = F.col("contributions")[0]  # one row of values per class that is predicted: one
        values, bias = F.slice(array, 1, len(owners)), F.element_at(array, -1)
        factors = (1.0,) * len(owners)
    rows = scored.select(
        *encoded.columns, "probability", values.alias("parts"), bias.alias("bias_part")
    )
    return Parts(rows, owners, factors, center=(0.0,) * len(owners))
