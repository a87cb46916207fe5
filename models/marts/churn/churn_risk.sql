-- Scores come from the ML step, which runs after a build; before the first one, nobody is here.
with

scores as (

    select * from {{ source('ml', 'churn_scores') }}

),

latest_run as (

    -- of several model runs that scored the same day, the one that scored last counts; rows that
    -- a repeated run found unchanged keep their time
    select
        snapshot_date,
        model_run_id
    from scores
    group by snapshot_date, model_run_id
    order by snapshot_date desc, max(scored_at) desc, model_run_id
    limit 1

),

latest_scores as (

    select scores.*
    from scores
    left semi join latest_run
        on
            scores.snapshot_date = latest_run.snapshot_date
            and scores.model_run_id = latest_run.model_run_id

),

users as (

    select
        user_id,
        level,
        platform,
        state,
        last_event_at
    from {{ ref('dim_users') }}

),

at_risk as (

    select
        latest_scores.user_id,
        latest_scores.snapshot_date,
        latest_scores.churn_probability,
        row_number() over (
            order by latest_scores.churn_probability desc, latest_scores.user_id
        ) as risk_rank,
        ntile(10) over (
            order by latest_scores.churn_probability desc, latest_scores.user_id
        ) as risk_decile,
        latest_scores.reason_1,
        latest_scores.reason_2,
        latest_scores.reason_3,
        users.level,
        users.platform,
        users.state,
        users.last_event_at,
        latest_scores.model_run_id,
        latest_scores.scored_at
    from latest_scores
    left join users on latest_scores.user_id = users.user_id

)

select * from at_risk
