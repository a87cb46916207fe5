-- What came of past scores, by the decile that readers saw. A view of counts that `score` writes;
-- DuckDB runs the same text.
{{ config(materialized='view') }}

with

counts as (

    select * from {{ source('ml', 'score_outcomes') }}

),

served as (

    select model_run_id from {{ source('ml', 'served_model') }}

),

deciles as (

    select
        counts.snapshot_date,
        counts.risk_decile,
        sum(counts.users) as users,
        sum(counts.expected_cancellations) as expected_cancellations,
        sum(counts.cancellations) as cancellations,
        counts.model_run_id
    from counts
    inner join served on counts.model_run_id = served.model_run_id
    group by counts.snapshot_date, counts.risk_decile, counts.model_run_id

),

outcomes as (

    select
        snapshot_date,
        risk_decile,
        cast(users as bigint) as users,
        round(expected_cancellations, 6) as expected_cancellations,
        cast(cancellations as bigint) as cancellations,
        round(expected_cancellations / users, 6) as expected_churn_rate,
        cast(cancellations as double) / users as churn_rate,
        model_run_id
    from deciles

)

select * from outcomes
