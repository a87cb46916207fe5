-- Population stability index of each feature and of the score: how far the users of a score date
-- have moved, between bins, from those of the last week of the model's fit. A view of counts
-- that `score` writes with the scores; DuckDB runs the same text.
{{ config(materialized='view') }}

with

counts as (

    select
        model_run_id,
        snapshot_date,
        feature,
        cast(users as double) as users,
        reference_users
    from {{ source('ml', 'score_bins') }}

),

served as (

    select model_run_id from {{ source('ml', 'served_model') }}

),

bins as (

    -- of a bin that is empty both times there is nothing to say
    select counts.*
    from counts
    inner join served on counts.model_run_id = served.model_run_id
    where counts.users + counts.reference_users > 0

),

totals as (

    select
        snapshot_date,
        feature,
        count(*) as bins,
        sum(users) as users,
        sum(reference_users) as reference_users
    from bins
    group by snapshot_date, feature

),

shares as (

    -- half a user more in each bin, as an empty one has no logarithm
    select
        totals.*,
        bins.model_run_id,
        (bins.users + 0.5) / (totals.users + 0.5 * totals.bins) as share,
        (bins.reference_users + 0.5)
        / (totals.reference_users + 0.5 * totals.bins) as reference_share
    from bins
    inner join totals
        on bins.snapshot_date = totals.snapshot_date and bins.feature = totals.feature

),

indices as (

    select
        snapshot_date,
        feature,
        model_run_id,
        users,
        reference_users,
        bins - 1 as freedom,
        sum((share - reference_share) * ln(share / reference_share)) as psi
    from shares
    group by snapshot_date, feature, model_run_id, users, reference_users, bins

),

by_chance as (

    -- Without any drift the index is, nearly, a chi-squared variable times 1/users + 1/reference
    -- users (Yurdakul 2018). Its quantile at .999 is that of Wilson and Hilferty (1931).
    select
        *,
        case
            when freedom > 0 then
                freedom
                * power(1 - 2 / (9.0 * freedom) + 3.09 * sqrt(2 / (9.0 * freedom)), 3)
                * (1 / nullif(users, 0) + 1 / nullif(reference_users, 0))
        end as psi_by_chance
    from indices

),

drift as (

    select
        snapshot_date,
        feature,
        cast(users as bigint) as users,
        round(reference_users, 4) as reference_users,
        round(psi, 4) as psi,
        round(psi_by_chance, 4) as psi_by_chance,
        -- these grow as the log does, whatever users do
        feature in ('days_since_first_event', 'tenure_days')
        or right(feature, 8) = '_to_date'
        or left(feature, 17) = 'hours_since_last_' and feature <> 'hours_since_last_event'
            as is_of_whole_past,
        model_run_id
    from by_chance

),

judged as (

    select
        snapshot_date,
        feature,
        users,
        reference_users,
        psi,
        psi_by_chance,
        is_of_whole_past,
        not is_of_whole_past
        and coalesce(psi > psi_by_chance, false)
        and psi > case
            when feature = 'churn_probability' then {{ var('score_psi_max') }}
            else {{ var('feature_psi_max') }}
        end as is_drifted,
        model_run_id
    from drift

)

select * from judged
