-- Scores come from the ML step, which runs after a build; before the first one, nobody is here.
with

scores as (

    select * from {{ source('ml', 'churn_scores') }}

),

latest_scores as (

    -- of several models that scored the same day, the one that scored last counts
    select
        *,
        rank() over (order by snapshot_date desc, scored_at desc, model_run_id) as score_age
    from scores

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
    where latest_scores.score_age = 1

)

select * from at_risk
