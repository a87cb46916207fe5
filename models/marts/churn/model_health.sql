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

recent_outcomes as (

    select * from {{ ref('churn_score_recent_outcomes') }}

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

worst_cohorts as (

    select
        *,
        count(*) over (partition by snapshot_date) as cohorts_off,
        row_number() over (
            partition by snapshot_date order by abs(deviations) desc, level, tenure
        ) as place
    from recent_outcomes
    where is_off and not (level = 'all' and tenure = 'all')

),

health as (

    select
        dates.snapshot_date,
        unix_date(dates.snapshot_date) - unix_date(fits.fit_last_snapshot_date) as days_since_fit,
        nullif(concat_ws(
            ' ',
            case
                when all_users.users is null or scores.psi is null
                    then 'Nobody compared these scores with the fit: score this date again.'
            end,
            case
                when all_users.users < {{ var('scored_users_min') }}
                    then concat('Only ', all_users.users, ' users were scored.')
            end,
            case
                when unix_date(dates.snapshot_date) - unix_date(calendar.first_event_date) < 28
                    then 'The 28 days before this date reach behind the start of the log.'
            end,
            case
                when days_since_fit > {{ var('days_since_fit_max') }}
                    then concat('The last snapshot of the fit is ', days_since_fit, ' days old.')
            end,
            case
                when scores.is_drifted
                    then concat(
                            'The scores have drifted since the fit (PSI ',
                            cast(scores.psi as decimal(9, 2)), ').'
                        )
            end,
            case
                when features.drifted_features > 0
                    then concat(
                            features.drifted_features,
                            ' feature(s) have drifted since the fit, most of all ',
                            features.feature, ' (PSI ', cast(features.psi as decimal(9, 2)), ').'
                        )
            end,
            case when outcomes.is_off then outcomes.comparison end,
            cohorts.comparison
        ), '') as distrust_reason,
        distrust_reason is null as is_trustworthy,
        all_users.users,
        days_since_fit <= 0 as is_seen_by_fit,
        scores.psi as score_psi,
        coalesce(features.drifted_features, 0) as drifted_features,
        features.feature as worst_feature,
        features.psi as worst_feature_psi,
        outcomes.outcome_date,
        outcomes.outcome_dates,
        outcomes.expected_cancellations,
        outcomes.cancellations,
        coalesce(cohorts.cohorts_off, 0) as cohorts_off,
        dates.model_run_id
    from score_dates as dates
    cross join {{ ref('churn_calendar') }} as calendar
    left join fits on dates.model_run_id = fits.model_run_id
    left join calibration as all_users
        on
            dates.snapshot_date = all_users.snapshot_date
            and all_users.level = 'all' and all_users.tenure = 'all'
    left join drift as scores
        on dates.snapshot_date = scores.snapshot_date and scores.feature = 'churn_probability'
    left join worst_features as features
        on dates.snapshot_date = features.snapshot_date and features.place = 1
    left join recent_outcomes as outcomes
        on
            dates.snapshot_date = outcomes.snapshot_date
            and outcomes.level = 'all' and outcomes.tenure = 'all'
    left join worst_cohorts as cohorts
        on dates.snapshot_date = cohorts.snapshot_date and cohorts.place = 1

)

select * from health
