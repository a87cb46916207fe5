-- Whether as many users cancelled as the last known scores expected, by cohort. A view of counts
-- that `score` writes; DuckDB runs the same text.
{{ config(materialized='view') }}

with

calibration as (

    select * from {{ ref('churn_score_calibration') }}

),

score_dates as (

    -- the served one, too, where an earlier version of the project made its scores
    select
        snapshot_date,
        model_run_id
    from calibration
    union
    select
        snapshot_date,
        model_run_id
    from {{ source('ml', 'served_model') }}

),

known as (

    -- of today's users nobody knows it yet: how the last ones came out says what to expect of these
    select
        score_dates.snapshot_date,
        score_dates.model_run_id,
        calibration.snapshot_date as known_date,
        max(calibration.snapshot_date) over (partition by score_dates.snapshot_date)
            as outcome_date,
        calibration.level,
        calibration.tenure,
        calibration.cancellations,
        calibration.expected_cancellations
    from score_dates
    inner join calibration
        on
            unix_date(score_dates.snapshot_date) - unix_date(calibration.snapshot_date)
            between 0 and 27
            and calibration.cancellations is not null

),

outcomes as (

    -- and those of 10 and 20 days before these: no cancellation is counted twice
    select
        snapshot_date,
        level,
        tenure,
        outcome_date,
        cast(max(count(*)) over (partition by snapshot_date) as int) as outcome_dates,
        round(sum(expected_cancellations), 6) as expected_cancellations,
        cast(sum(cancellations) as bigint) as cancellations,
        model_run_id
    from known
    where (unix_date(outcome_date) - unix_date(known_date)) % 10 = 0
    group by snapshot_date, level, tenure, outcome_date, model_run_id

),

compared as (

    -- deviations as in churn_score_calibration
    select
        *,
        level = 'all' and tenure = 'all' as is_all,
        round(2 * (sqrt(cancellations + 0.375) - sqrt(expected_cancellations + 0.375)), 4)
            as deviations,
        greatest(cancellations, expected_cancellations)
        / nullif(least(cancellations, expected_cancellations), 0) as ratio
    from outcomes

),

judged as (

    -- off by more than chance explains, and by more than matters
    select
        snapshot_date,
        level,
        tenure,
        outcome_date,
        outcome_dates,
        expected_cancellations,
        cancellations,
        deviations,
        case
            when is_all
                then
                    abs(deviations) > {{ var('outcome_deviations_max') }}
                    and coalesce(ratio > {{ var('outcome_ratio_max') }}, true)
            else
                abs(deviations) > {{ var('cohort_deviations_max') }}
                and coalesce(ratio > {{ var('cohort_ratio_max') }}, true)
        end as is_off,
        concat(
            cancellations,
            case level when 'all' then ' users' else concat(' ', level, ' users') end,
            case tenure
                when 'all' then ''
                else concat(' of tenure ', replace(tenure, '_', ' '))
            end,
            ' cancelled within 10 days of ', outcome_dates, ' score date(s) up to ', outcome_date,
            ', where ', cast(expected_cancellations as decimal(18, 1)), ' were expected.'
        ) as comparison,
        model_run_id
    from compared

)

select * from judged
