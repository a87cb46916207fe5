-- Whether the scores of a date can be trusted, and if not, why. A view of counts that `score`
-- writes; DuckDB runs the same text.
{{ config(materialized='view') }}

with

fits as (

    select
        model_run_id,
        max(train_last_snapshot_date) as fit_last_snapshot_date
    from {{ source('ml', 'model_runs') }}
    group by model_run_id

),

calibration as (

    select * from {{ ref('churn_score_calibration') }}

),

drift as (

    select * from {{ ref('churn_score_drift') }}

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

worst_features as (

    select
        *,
        count(*) over (partition by snapshot_date) as drifted_features,
        row_number() over (partition by snapshot_date order by psi desc, feature) as place
    from drift
    where is_drifted and feature <> 'churn_probability'

),

known as (

    -- of today's users nobody knows it yet: how the last ones came out says what to expect of these
    select
        score_dates.snapshot_date,
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
        outcome_date,
        level,
        tenure,
        level = 'all' and tenure = 'all' as is_all,
        max(count(*)) over (partition by snapshot_date) as outcome_dates,
        sum(cancellations) as cancellations,
        round(sum(expected_cancellations), 6) as expected_cancellations
    from known
    where (unix_date(outcome_date) - unix_date(known_date)) % 10 = 0
    group by snapshot_date, outcome_date, level, tenure

),

judged as (

    -- deviations as in churn_score_calibration; off by more than chance explains, and by more than
    -- matters
    select
        *,
        abs(2 * (sqrt(cancellations + 0.375) - sqrt(expected_cancellations + 0.375)))
            as deviations,
        greatest(cancellations, expected_cancellations)
        / nullif(least(cancellations, expected_cancellations), 0) as ratio,
        deviations > case
            when is_all then {{ var('outcome_deviations_max') }}
            else {{ var('cohort_deviations_max') }}
        end
        and coalesce(
            ratio > case
                when is_all then {{ var('outcome_ratio_max') }}
                else {{ var('cohort_ratio_max') }}
            end,
            true
        ) as is_off,
        concat(
            cancellations,
            case level when 'all' then ' users' else concat(' ', level, ' users') end,
            case tenure
                when 'all' then ''
                else concat(' of tenure ', replace(tenure, '_', ' '))
            end,
            ' cancelled within 10 days of ', outcome_dates, ' score date(s) up to ', outcome_date,
            ', where ', cast(expected_cancellations as decimal(18, 1)), ' were expected.'
        ) as sentence
    from outcomes

),

worst_cohorts as (

    select
        *,
        count(*) over (partition by snapshot_date) as cohorts_off,
        row_number() over (
            partition by snapshot_date order by deviations desc, level, tenure
        ) as place
    from judged
    where is_off and not is_all

),

figures as (

    select
        score_dates.snapshot_date,
        score_dates.model_run_id,
        all_users.users,
        unix_date(score_dates.snapshot_date) - unix_date(fits.fit_last_snapshot_date)
            as days_since_fit,
        unix_date(score_dates.snapshot_date) - unix_date(calendar.first_event_date)
            as days_of_log,
        drift_of_scores.psi as score_psi,
        drift_of_scores.is_drifted as is_score_drifted,
        coalesce(worst_features.drifted_features, 0) as drifted_features,
        worst_features.feature as worst_feature,
        worst_features.psi as worst_feature_psi,
        outcomes_of_all.outcome_date,
        cast(outcomes_of_all.outcome_dates as int) as outcome_dates,
        outcomes_of_all.expected_cancellations,
        cast(outcomes_of_all.cancellations as bigint) as cancellations,
        case when outcomes_of_all.is_off then outcomes_of_all.sentence end as outcome_sentence,
        coalesce(worst_cohorts.cohorts_off, 0) as cohorts_off,
        worst_cohorts.sentence as cohort_sentence
    from score_dates
    cross join {{ ref('churn_calendar') }} as calendar
    left join fits on score_dates.model_run_id = fits.model_run_id
    left join calibration as all_users
        on
            score_dates.snapshot_date = all_users.snapshot_date
            and all_users.level = 'all' and all_users.tenure = 'all'
    left join drift as drift_of_scores
        on
            score_dates.snapshot_date = drift_of_scores.snapshot_date
            and drift_of_scores.feature = 'churn_probability'
    left join worst_features
        on score_dates.snapshot_date = worst_features.snapshot_date and worst_features.place = 1
    left join judged as outcomes_of_all
        on score_dates.snapshot_date = outcomes_of_all.snapshot_date and outcomes_of_all.is_all
    left join worst_cohorts
        on score_dates.snapshot_date = worst_cohorts.snapshot_date and worst_cohorts.place = 1

),

health as (

    select
        snapshot_date,
        nullif(concat_ws(
            ' ',
            case
                when users is null or score_psi is null
                    then 'Nobody compared these scores with the fit: score this date again.'
            end,
            case
                when users < {{ var('scored_users_min') }}
                    then concat('Only ', users, ' users were scored.')
            end,
            case
                when days_of_log < 28
                    then 'The 28 days before this date reach behind the start of the log.'
            end,
            case
                when days_since_fit > {{ var('days_since_fit_max') }}
                    then concat('The last snapshot of the fit is ', days_since_fit, ' days old.')
            end,
            case
                when is_score_drifted
                    then concat(
                            'The scores have drifted since the fit (PSI ',
                            cast(score_psi as decimal(9, 2)), ').'
                        )
            end,
            case
                when drifted_features > 0
                    then concat(
                            drifted_features,
                            ' feature(s) have drifted since the fit, most of all ', worst_feature,
                            ' (PSI ', cast(worst_feature_psi as decimal(9, 2)), ').'
                        )
            end,
            outcome_sentence,
            cohort_sentence
        ), '') as distrust_reason,
        distrust_reason is null as is_trustworthy,
        users,
        days_since_fit,
        days_since_fit <= 0 as is_seen_by_fit,
        score_psi,
        drifted_features,
        worst_feature,
        worst_feature_psi,
        outcome_date,
        outcome_dates,
        expected_cancellations,
        cancellations,
        cohorts_off,
        model_run_id
    from figures

)

select * from health
