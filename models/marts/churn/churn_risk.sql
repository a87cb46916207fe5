-- Scores come from the ML step, which runs after a build; before the first one, nobody is here.
with

scores as (

    select * from {{ source('ml', 'churn_scores') }}

),

served as (

    select * from {{ source('ml', 'served_model') }}

),

served_run as (

    -- what `score` served last. A warehouse scored before it said so has no such row: there the run
    -- that scored last counts
    select
        scores.snapshot_date,
        scores.model_run_id
    from scores
    left join served
        on
            scores.snapshot_date = served.snapshot_date
            and scores.model_run_id = served.model_run_id
    group by scores.snapshot_date, scores.model_run_id
    order by
        max(served.served_at) desc nulls last,
        scores.snapshot_date desc,
        max(scores.scored_at) desc,
        scores.model_run_id
    limit 1

),

served_scores as (

    select scores.*
    from scores
    left semi join served_run
        on
            scores.snapshot_date = served_run.snapshot_date
            and scores.model_run_id = served_run.model_run_id

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
        served_scores.model_run_id,
        served_scores.scored_at
    from served_scores
    left join users on served_scores.user_id = users.user_id

)

select * from at_risk
