-- Expected against realised cancellations of cohorts, and of all users. A view of counts that
-- `score` writes; DuckDB runs the same text.
{{ config(materialized='view') }}

with

counts as (

    select * from {{ source('ml', 'score_outcomes') }}

),

served as (

    select model_run_id from {{ source('ml', 'served_model') }}

),

cohorts as (

    -- each plan, each group of tenure, both together, and all
    select
        counts.snapshot_date,
        coalesce(counts.level, 'all') as level,
        coalesce(counts.tenure, 'all') as tenure,
        cast(sum(counts.users) as bigint) as users,
        round(sum(counts.expected_cancellations), 6) as expected_cancellations,
        cast(sum(counts.cancellations) as bigint) as cancellations,
        counts.model_run_id
    from counts
    inner join served on counts.model_run_id = served.model_run_id
    group by counts.snapshot_date, counts.model_run_id, cube (counts.level, counts.tenure)

),

compared as (

    -- the square root of a count has the same deviation, a half, whatever the count (Anscombe 1948)
    select
        snapshot_date,
        level,
        tenure,
        users,
        expected_cancellations,
        cancellations,
        round(2 * (sqrt(cancellations + 0.375) - sqrt(expected_cancellations + 0.375)), 4)
            as deviations,
        model_run_id
    from cohorts

)

select * from compared
