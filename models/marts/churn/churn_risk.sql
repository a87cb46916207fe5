-- A view: scores come from the ML step, which runs after a build, and are here as soon as it serves
-- them. Before the first ones, nobody is here. DuckDB runs the same text (warehouse/published.py).
{#- Earlier versions had a table, which dbt does not see where views are in another catalog. #}
{{ config(materialized='view', pre_hook="drop table if exists " ~ marts_schema() ~ ".churn_risk") }}

with

scores as (

    select * from {{ source('ml', 'churn_scores') }}

),

served as (

    select * from {{ source('ml', 'served_model') }}

),

served_scores as (

    select scores.*
    from scores
    inner join served
        on
            scores.snapshot_date = served.snapshot_date
            and scores.model_run_id = served.model_run_id

),

users as (

    select
        user_id,
        level,
        platform,
        state,
        last_event_at,
        is_churned
    from {{ ref('dim_users') }}

),

calendar as (

    select current_snapshot_date
    from {{ ref('churn_calendar') }}

),

health as (

    select
        snapshot_date,
        is_trustworthy,
        distrust_reason
    from {{ ref('model_health') }}

),

at_risk as (

    select
        served_scores.user_id,
        served_scores.snapshot_date,
        served_scores.churn_probability,
        row_number() over (
            order by served_scores.churn_probability desc, served_scores.user_id
        ) as risk_rank,
        ntile(10) over (
            order by served_scores.churn_probability desc, served_scores.user_id
        ) as risk_decile,
        served_scores.reason_1,
        served_scores.reason_2,
        served_scores.reason_3,
        users.level,
        users.platform,
        users.state,
        users.last_event_at,
        coalesce(users.is_churned, false) as is_churned_since,
        coalesce(
            served_scores.snapshot_date = (select max(current_snapshot_date) from calendar), false
        ) as is_latest_snapshot,
        health.is_trustworthy,
        health.distrust_reason,
        served_scores.model_run_id,
        served_scores.scored_at
    from served_scores
    left join users on served_scores.user_id = users.user_id
    left join health on served_scores.snapshot_date = health.snapshot_date

)

select * from at_risk
